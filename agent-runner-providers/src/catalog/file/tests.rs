use proptest::prelude::*;

use super::*;

fn parsed(text: &str) -> ModelsFile {
    ModelsFile::parse(text, "models.toml").unwrap_or_else(|error| panic!("{error}"))
}

fn problem(text: &str) -> String {
    ModelsFile::parse(text, "models.toml").unwrap_err().to_string()
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

#[test]
fn the_most_specific_pattern_speaks_first_and_the_others_fill_in() {
    let file = parsed(
        r#"
        [[models]]
        model = "router/*"
        tools = true
        context_window = 8_000
        prices = [{ input = 1, output = 1 }]
        [[models]]
        model = "router/anthropic/*"
        vision = true
        context_window = 200_000
        [[models]]
        model = "router/anthropic/claude"
        max_output = 64_000
        tools = false
        prices = [{ input = 0.075, output = 1 }]
        "#,
    );
    assert_eq!(file.len(), 3);
    let claude = "router/anthropic/claude".parse().unwrap();
    assert_eq!(
        file.capabilities(&claude),
        Capabilities {
            tools: Some(false),
            vision: Some(true),
            context_window: Some(200_000),
            max_output: Some(64_000),
            ..Capabilities::default()
        }
    );
    let price = |name: &str| file.price(&name.parse().unwrap(), Timestamp::UNIX_EPOCH);
    assert_eq!(price("router/anthropic/claude").unwrap().rates.input, 75_000);
    assert_eq!(price("router/anthropic/other").unwrap().rates.input, 1_000_000);
    assert_eq!(price("routers/x"), None);
    let price = price("router/x").unwrap();
    assert_eq!((price.source, price.basis.as_str()), (FactSource::Operator, "models.toml"));
}

#[test]
fn a_price_holds_from_its_first_moment_to_before_its_last() {
    let file = parsed(
        r#"
        [[models]]
        model = "a/m"
        [[models.prices]]
        effective_until = 2027-01-01
        input = 1
        output = 2
        [[models.prices]]
        effective_from = 2027-01-01
        effective_until = 2027-01-02T08:00:00+01:00
        input = 3
        output = 4
        cache_read = 0.3
        cache_write = 3.75
        cache_write_1h = 6
        tiers = [{ above = 100, input = 5, output = 6 }, { above = 200, input = 7, output = 8 }]
        "#,
    );
    let price = |when| file.price(&"a/m".parse().unwrap(), at(when));
    assert_eq!(price("2026-12-31T23:59:59.999999Z").unwrap().rates.input, 1_000_000);
    let later = price("2027-01-01T00:00:00Z").unwrap();
    assert_eq!(
        later.rates,
        Rates {
            input: 3_000_000,
            output: 4_000_000,
            cache_read: Some(300_000),
            cache_write: Some(3_750_000),
            cache_write_1h: Some(6_000_000),
        }
    );
    assert_eq!(later.rates_for(150).output, 6_000_000);
    assert_eq!(later.rates_for(201).output, 8_000_000);
    assert!(price("2027-01-02T06:59:59Z").is_some());
    assert_eq!(price("2027-01-02T07:00:00Z"), None);
}

#[test]
fn free_of_charge_is_said_and_not_assumed() {
    let file = parsed(
        "[[models]]\nmodel = \"ollama/*\"\nprices = [{ input = 0, output = 0 }]\n[[models]]\nmodel = \"x/y\"\n",
    );
    let free = file.price(&"ollama/qwen3".parse().unwrap(), Timestamp::UNIX_EPOCH).unwrap();
    assert_eq!(free.rates, Rates::default());
    assert_eq!(file.price(&"x/y".parse().unwrap(), Timestamp::UNIX_EPOCH), None);
    assert!(parsed("# nothing\n").is_empty());
}

#[test]
fn what_is_wrong_is_said_with_line_and_key() {
    let model = "[[models]]\nmodel = \"a/m\"\n";
    for (text, wanted) in [
        (
            "[[models]]\nmodel = \"a/m\"\nvison = true",
            "line 3: there is no key `vison`; there are model, tools",
        ),
        ("models = 3", "line 1: `models` is not a list of tables"),
        ("models = [3]", "line 1: `models` has an item that is no table"),
        ("[[models]]\ntools = true", "line 1: `model` is missing"),
        ("[[model]]", "line 1: there is no key `model`; there are models"),
        ("[[models]]\nmodel = \"gpt\"", "line 2: `model` is not provider/model"),
        ("[[models]]\nmodel = \"*\"", "line 2: `model` is not provider/model"),
        ("[[models]]\nmodel = \"a/*b*\"", "line 2: `model` is not provider/model"),
        ("[[models]]\nmodel = 1", "line 2: `model` is not a string"),
        ("[[models]]\nmodel = \"a/m\"\ntools = 1", "line 3: `tools` is not true or false"),
        (
            "[[models]]\nmodel = \"a/m\"\nmax_output = 0",
            "line 3: `max_output` is not a number of tokens",
        ),
        (
            "[[models]]\nmodel = \"a/m\"\nmax_output = -5",
            "line 3: `max_output` is not a number of tokens",
        ),
        ("a = \n", "line 1: "),
    ] {
        let problem = problem(text);
        assert!(problem.contains(wanted), "{wanted}\nin {problem}");
    }
    for (price, wanted) in [
        ("{ input = 1 }", "line 3: `output` is missing"),
        ("{ input = -1, output = 1 }", "line 3: `input` is negative"),
        ("{ input = nan, output = 1 }", "line 3: `input` is not a decimal number"),
        ("{ input = 0x10, output = 1 }", "line 3: `input` is not a decimal number"),
        ("{ input = \"1\", output = 1 }", "line 3: `input` is not a decimal number"),
        (
            "{ input = 3000000, output = 1 }",
            "line 3: `input` is 100000 USD per million tokens or more",
        ),
        ("{ input = 0.0000001, output = 1 }", "line 3: `input` has more than 6 decimal places"),
        ("{ input = 1, output = 1, effective_from = 08:00:00 }", "`effective_from` is not a day"),
        (
            "{ input = 1, output = 1, effective_from = 2027-01-01T08:00:00 }",
            "`effective_from` is not a day",
        ),
        (
            "{ input = 1, output = 1, effective_from = 2027-02-01, effective_until = 2027-01-01 }",
            "not before",
        ),
        (
            "{ input = 1, output = 1 }, { input = 2, output = 2 }",
            "line 3: this price holds at the same time",
        ),
        (
            "{ input = 1, output = 1, tiers = [{ above = 2, input = 1, output = 1 }, { above = 2, input = 1, output = 1 }] }",
            "not larger",
        ),
        (
            "{ input = 1, output = 1, tiers = [{ above = 2, input = 1 }] }",
            "line 3: `output` is missing",
        ),
    ] {
        let problem = problem(&format!("{model}prices = [{price}]"));
        assert!(problem.contains(wanted), "{wanted}\nin {problem}");
    }
}

#[test]
fn a_pattern_that_stands_there_twice_is_refused() {
    let text = "[[models]]\nmodel = \"a/m\"\n\n[[models]]\nmodel = \"a/m\"\n";
    assert_eq!(problem(text), "line 4: `a/m` stands in line 1 already");
    assert_eq!(parsed("[[models]]\nmodel = \"a/m\"\n[[models]]\nmodel = \"a/m*\"\n").len(), 2);
}

#[test]
fn everything_wrong_is_said_at_once_and_a_huge_file_is_not_read() {
    let many = "[[models]]\n".repeat(100);
    let error = ModelsFile::parse(&many, "x").unwrap_err();
    assert_eq!(error.problems().count(), PROBLEMS_MAX);
    assert!(problem(&" ".repeat(BYTES_MAX + 1)).contains("larger than"));
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused_without_a_panic(text in "(?s).{0,200}") {
        drop(ModelsFile::parse(&text, "x"));
        let price = format!("[[models]]\nmodel = \"a/m\"\nprices = [{{ input = {text}, output = 1 }}]");
        drop(ModelsFile::parse(&price, "x"));
    }

    #[test]
    fn six_decimal_places_are_kept_exactly(micro in 0_u64..100_000_000_000) {
        let (usd, rest) = (micro / 1_000_000, micro % 1_000_000);
        let text = format!("[[models]]\nmodel = \"a/m\"\nprices = [{{ input = {usd}.{rest:06}, output = 1 }}]");
        let price = parsed(&text).price(&"a/m".parse().unwrap(), Timestamp::UNIX_EPOCH).unwrap();
        prop_assert_eq!(price.rates.input, micro);
    }
}
