use super::*;

fn catalog() -> GenaiPrices {
    GenaiPrices::new()
        .with("anthropic", "anthropic")
        .with("gemini", "google")
        .with("openai", "openai")
        .with("router", "openrouter")
        .with("deepseek", "deepseek")
        .with("nobody", "no-such-list")
        .with("perplexity", "perplexity")
        .with("cerebras", "cerebras")
}

fn price_at(model: &str, at: &str) -> Option<Price> {
    catalog().price(&model.parse().unwrap(), at.parse().unwrap())
}

fn price(model: &str) -> Option<Price> {
    price_at(model, "2026-11-22T12:00:00Z")
}

#[test]
fn rates_are_whole_micro_usd_and_name_their_list() {
    let price = price("anthropic/claude-sonnet-5-5").unwrap();
    assert_eq!(
        price.rates,
        Rates {
            input: 2_000_000,
            output: 10_000_000,
            cache_read: Some(100_000),
            cache_write: Some(2_500_000),
            cache_write_1h: Some(4_000_000),
        }
    );
    assert!(price.tiers.is_empty());
    assert_eq!((price.source, price.basis.as_str()), (FactSource::Catalog, BASIS));
    let flash = self::price("gemini/models/gemini-3.8-flash").unwrap();
    assert_eq!(flash.rates.cache_read, Some(75_000), "0.075 USD");
    let lock = include_str!("../../../../Cargo.lock");
    let (name, version) = BASIS.split_once(' ').unwrap();
    assert!(lock.contains(&format!("name = \"{name}\"\nversion = \"{version}\"")), "{BASIS}");
}

#[test]
fn a_long_prompt_has_the_rates_of_its_tier() {
    let haiku = price("anthropic/claude-haiku-5-5").unwrap();
    assert_eq!((haiku.rates.input, haiku.rates.output), (100_000, 500_000));
    let [(above, dear)] = haiku.tiers.as_slice() else { panic!("{haiku:?}") };
    assert_eq!(*above, 100_000);
    assert_eq!(
        *dear,
        Rates {
            input: 500_000,
            output: 2_500_000,
            cache_read: Some(50_000),
            cache_write: Some(625_000),
            cache_write_1h: Some(1_000_000),
        }
    );
    let astra = price("openai/gpt-6-astra").unwrap();
    assert_eq!(astra.tiers[0].0, 272_000);
    assert_eq!((astra.tiers[0].1.input, astra.tiers[0].1.output), (20_000_000, 75_000_000));
}

#[test]
fn a_price_holds_from_its_day_and_at_its_hours() {
    let input = |model, at| price_at(model, at).unwrap().rates.input;
    assert_eq!(input("gemini/gemini-3.8-flash", "2026-12-31T23:59:59Z"), 750_000);
    assert_eq!(input("gemini/gemini-3.8-flash", "2027-01-01T00:00:00Z"), 1_500_000);
    assert_eq!(input("deepseek/deepseek-v4-pro", "2026-11-22T00:59:59Z"), 660_000);
    assert_eq!(input("deepseek/deepseek-v4-pro", "2026-11-22T01:00:00Z"), 1_320_000);
    assert_eq!(input("deepseek/deepseek-v4-pro", "2026-08-16T12:00:00Z"), 435_000);
}

#[test]
fn one_catalog_asked_at_two_times_does_not_answer_from_memory() {
    let (catalog, model) = (catalog(), "gemini/gemini-3.8-flash".parse().unwrap());
    let at = |at: &str| catalog.price(&model, at.parse().unwrap()).unwrap().rates.input;
    let asked = ["2026-12-31T23:59:59Z", "2027-01-01T00:00:00Z", "2026-12-31T23:59:59Z"].map(at);
    assert_eq!(asked, [750_000, 1_500_000, 750_000]);
}

#[test]
fn what_the_list_does_not_say_is_unknown_and_never_free() {
    for model in [
        "ollama/qwen3",
        "nobody/gpt-5",
        "anthropic/no-such-model",
        // In the list without a price.
        "cerebras/qwen-3-coder-480b",
        // Free of charge or unknown: the list does not tell them apart.
        "router/deepseek/deepseek-chat-v3-0324:free",
        // A fee for each request beside the tokens.
        "perplexity/sonar",
        "openai/",
        "openai/\u{0}",
    ] {
        let model =
            ModelName::new(model.split_once('/').unwrap().0, model.split_once('/').unwrap().1);
        assert_eq!(catalog().price(&model, Timestamp::UNIX_EPOCH), None, "{model}");
    }
}

#[test]
fn a_service_is_known_by_its_address_and_a_server_nearby_is_none() {
    for (url, model, known) in [
        ("https://api.anthropic.com", "claude-sonnet-5-5", true),
        ("https://generativelanguage.googleapis.com/", "gemini-3.8-flash", true),
        ("https://api.openai.com/v1", "gpt-6-astra", true),
        ("https://openrouter.ai/api/v1", "anthropic/claude-sonnet-5.5", true),
        ("https://api.deepseek.com/v1", "deepseek-v4-pro", true),
        ("http://127.0.0.1:8080/v1", "gpt-6-astra", false),
        ("http://localhost:11434", "gpt-6-astra", false),
        ("http://[::1]:11434/api.openai.com", "gpt-6-astra", false),
        ("127.0.0.1", "gpt-6-astra", false),
        ("https://llm.example.com/v1", "gpt-6-astra", false),
        ("", "gpt-6-astra", false),
    ] {
        let catalog = GenaiPrices::new().with_address("x", url);
        let price = catalog.price(&ModelName::new("x", model), Timestamp::now());
        assert_eq!(price.is_some(), known, "{url}");
    }
    assert!(GenaiPrices::lists().any(|list| list == "openai"));
}

#[test]
fn context_windows_are_known_where_the_list_has_them() {
    let window = |model: &str| catalog().capabilities(&model.parse().unwrap()).context_window;
    assert_eq!(window("anthropic/claude-sonnet-5-5"), Some(1_000_000));
    assert_eq!(window("ollama/qwen3"), None);
    let (catalog, model) = (catalog(), "anthropic/claude-sonnet-5-5".parse().unwrap());
    let asked = [0; 2].map(|_| catalog.capabilities(&model).context_window);
    assert_eq!(asked, [Some(1_000_000); 2], "the second answer is from memory");
    assert_eq!(window("anthropic/no-such-model"), None);
}

#[test]
fn every_model_of_every_list_can_be_priced_without_a_panic_and_none_is_free() {
    let at = "2026-11-22T12:00:00Z".parse().unwrap();
    let (mut priced, mut tiered) = (0, 0);
    for list in Calculator::bundled().providers() {
        for model in list.models() {
            let entry = Entry { list: list.id(), model: model.id() };
            let Some(price) = entry.price(at) else { continue };
            priced += 1;
            tiered += usize::from(!price.tiers.is_empty());
            assert!(price.rates.input > 0 && price.rates.output > 0, "{}", model.id());
            assert!(price.tiers.len() < TIERS_MAX, "{}", model.id());
            assert!(price.tiers.is_sorted_by_key(|(above, _)| *above), "{}", model.id());
        }
    }
    assert!(priced > 1_000 && tiered > 50, "{priced} priced, {tiered} with tiers");
}
