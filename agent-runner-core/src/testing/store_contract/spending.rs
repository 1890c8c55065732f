//! Contract 13 and 14: what is reserved and booked.

use super::{
    StoreHarness,
    fixture::{Fixture, by_owner},
};
use crate::{
    budget::{Account, Budget, Day, Spend},
    llm::MicroUsd,
    run::{Run, RunStatus},
    store::{Booking, Ready, Reserve, Reserved, SpendLine, SpendQuery, Spent, StoreErrorKind},
};

const TODAY: Day = Day(20_000);

/// Amounts up to this one are kept as they are.
const AMOUNT_MIN: u64 = 1 << 50;

fn tokens(tokens: u64) -> Spend {
    let micro_usd = MicroUsd(tokens.saturating_mul(2));
    Spend { requests: 1, tokens, micro_usd, unpriced: 1, busy_ms: tokens }
}

fn project(run: &Run) -> Account {
    Account::Project(run.project_id)
}

fn line(account: Account) -> SpendLine {
    SpendLine { account, day: TODAY }
}

/// A wish of that many tokens on the run's project, which may spend `limit`.
fn wish(run: &Run, id: &str, amount: u64, limit: u64) -> Reserve {
    let query = SpendQuery { account: Some(project(run)), day: None };
    let budget = Budget { tokens: Some(limit), ..Budget::default() };
    Reserve {
        run: run.id,
        worker: run.owner.expect("a claimed run has an owner"),
        epoch: run.epoch,
        id: id.to_owned(),
        amount: tokens(amount),
        lines: vec![line(project(run))],
        limits: vec![(query, budget)],
    }
}

fn booking(run: &Run, id: &str, amount: u64) -> Booking {
    Booking { id: id.to_owned(), amount: tokens(amount), lines: vec![line(project(run))] }
}

impl<H: StoreHarness> Fixture<H> {
    async fn wish(&self, run: &Run, id: &str, amount: u64, limit: u64) -> Reserved {
        self.store.reserve(wish(run, id, amount, limit)).await.expect("the store answers")
    }

    async fn book(&self, run: &Run, id: &str, amount: u64) {
        let mut batch = by_owner(run);
        batch.bookings.push(booking(run, id, amount));
        self.append(batch).await;
    }

    /// Tokens booked and reserved.
    async fn sums(&self, account: Option<Account>, day: Option<Day>) -> (u64, u64) {
        let spent = self.spent(account, day).await;
        (spent.booked.tokens, spent.reserved.tokens)
    }

    async fn spent(&self, account: Option<Account>, day: Option<Day>) -> Spent {
        self.store.spent(&SpendQuery { account, day }).await.expect("the store answers")
    }
}

fn refused(reserved: Reserved) -> bool {
    matches!(reserved, Reserved::Exceeded { limit: 0, .. })
}

/// Contract 13.
pub async fn a_wish_is_granted_within_its_limits_and_refused_beyond<H: StoreHarness>() {
    let f = Fixture::<H>::open().await;
    let run = f.claimed().await;
    assert_eq!(f.wish(&run, "a", 60, 100).await, Reserved::Granted);
    let over = f.wish(&run, "b", 41, 100).await;
    let Reserved::Exceeded { limit: 0, spent } = over else {
        panic!("a wish beyond its limit is {over:?}")
    };
    assert_eq!((spent.booked.tokens, spent.reserved.tokens), (0, 60));
    assert_eq!(f.sums(Some(project(&run)), None).await, (0, 60), "nothing of it was written");
    assert_eq!(f.wish(&run, "b", 40, 100).await, Reserved::Granted);
}

/// Contract 14.
pub async fn what_is_reserved_counts_until_it_is_booked<H: StoreHarness>() {
    let f = Fixture::<H>::open().await;
    let run = f.claimed().await;
    f.wish(&run, "a", 90, 100).await;
    f.book(&run, "a", 10).await;
    assert_eq!(f.sums(Some(project(&run)), None).await, (10, 0));
    assert_eq!(f.wish(&run, "b", 90, 100).await, Reserved::Granted);
    assert!(refused(f.wish(&run, "c", 1, 100).await));
    // A booking without a reservation only adds.
    f.book(&run, "never reserved", 5).await;
    let spent = f.spent(Some(project(&run)), None).await;
    assert_eq!(spent.booked, tokens(10).plus(tokens(5)));
    assert_eq!(spent.reserved, tokens(90));
}

/// Contract 13.
pub async fn concurrent_wishes_never_exceed_a_limit<H: StoreHarness>() {
    let f = Fixture::<H>::open().await;
    let run = f.claimed().await;
    let wishes = (0..20).map(|n| {
        let store = std::sync::Arc::clone(&f.store);
        let wish = wish(&run, &format!("w{n}"), 10, 100);
        async move { store.reserve(wish).await.expect("the store answers") }
    });
    let granted = futures::future::join_all(wishes).await;
    assert_eq!(granted.iter().filter(|one| **one == Reserved::Granted).count(), 10);
    assert_eq!(f.sums(Some(project(&run)), None).await, (0, 100));
}

/// Contract 13.
pub async fn a_reservation_of_the_same_name_is_replaced<H: StoreHarness>() {
    let f = Fixture::<H>::open().await;
    let run = f.claimed().await;
    f.wish(&run, "a", 90, 100).await;
    assert_eq!(f.wish(&run, "a", 100, 100).await, Reserved::Granted, "it does not count itself");
    assert_eq!(f.sums(Some(project(&run)), None).await, (0, 100));
}

/// Contract 13.
pub async fn only_the_owner_reserves<H: StoreHarness>() {
    let f = Fixture::<H>::open().await;
    let run = f.claimed().await;
    let mut late = wish(&run, "a", 1, 100);
    late.epoch += 1;
    let error = f.store.reserve(late).await.expect_err("another epoch");
    assert_eq!(error.kind(), StoreErrorKind::Fenced);
    let mut nobody = wish(&run, "a", 1, 100);
    nobody.run = f.run_id();
    let error = f.store.reserve(nobody).await.expect_err("no such run");
    assert_eq!(error.kind(), StoreErrorKind::NotFound);
    assert_eq!(f.sums(None, None).await, (0, 0));
}

async fn ended<H: StoreHarness>(f: &Fixture<H>, run: &Run) {
    let mut batch = by_owner(run);
    batch.patch.status = Some(RunStatus::Canceled);
    batch.patch.finished_at = Some(f.now());
    batch.ready = Ready::Never;
    f.append(batch).await;
}

/// Contract 14.
pub async fn a_run_that_ends_books_what_is_still_reserved<H: StoreHarness>() {
    let f = Fixture::<H>::open().await;
    let run = f.claimed().await;
    f.wish(&run, "a", 30, 100).await;
    f.wish(&run, "b", 40, 100).await;
    f.book(&run, "a", 1).await;
    ended(&f, &run).await;
    assert_eq!(f.sums(Some(project(&run)), Some(TODAY)).await, (41, 0));
}

/// Contract 14.
pub async fn bookings_stay_when_their_run_is_deleted<H: StoreHarness>() {
    let f = Fixture::<H>::open().await;
    let run = f.claimed().await;
    f.book(&run, "a", 7).await;
    ended(&f, &run).await;
    f.store.delete(run.id).await.expect("it ended");
    assert_eq!(f.sums(Some(project(&run)), None).await, (7, 0));
}

/// What counts where.
pub async fn days_and_accounts_are_added_up_apart<H: StoreHarness>() {
    let f = Fixture::<H>::open().await;
    let run = f.claimed().await;
    let mut batch = by_owner(&run);
    let tomorrow = Day(TODAY.0 + 1);
    for (account, day, amount) in [
        (project(&run), TODAY, 1),
        (project(&run), tomorrow, 2),
        (Account::Provider("p".to_owned()), TODAY, 4),
        (Account::Tree(run.id), TODAY, 8),
    ] {
        let (id, amount) = (String::new(), tokens(amount));
        batch.bookings.push(Booking { id, amount, lines: vec![SpendLine { account, day }] });
    }
    f.append(batch).await;
    let table = [
        (Some(project(&run)), None, 3),
        (Some(project(&run)), Some(tomorrow), 2),
        (Some(Account::Provider("p".to_owned())), None, 4),
        (Some(Account::Provider("q".to_owned())), None, 0),
        (Some(Account::Tree(run.id)), Some(TODAY), 8),
        (None, Some(TODAY), 1),
        (None, None, 3),
    ];
    for (account, day, sum) in table {
        assert_eq!(f.sums(account.clone(), day).await, (sum, 0), "{account:?} {day:?}");
    }
}

/// Calls that no run makes.
pub async fn what_no_run_spent_is_booked_as_well<H: StoreHarness>() {
    let f = Fixture::<H>::open().await;
    let account = Account::Provider("p".to_owned());
    for _ in 0..2 {
        let lines = vec![line(account.clone())];
        f.store.book(tokens(3), lines).await.expect("the store answers");
    }
    assert_eq!(f.spent(Some(account), Some(TODAY)).await.booked, tokens(3).plus(tokens(3)));
}

/// A service that says absurd numbers breaks nothing.
pub async fn no_amount_is_too_large<H: StoreHarness>() {
    let f = Fixture::<H>::open().await;
    let run = f.claimed().await;
    for _ in 0..4 {
        f.book(&run, "a", u64::MAX).await;
    }
    let (booked, _) = f.sums(Some(project(&run)), None).await;
    assert!(booked >= AMOUNT_MIN, "{booked}");
    assert!(refused(f.wish(&run, "b", 1, 1 << 50).await));
}

/// Neither does a service that does so for weeks.
pub async fn absurd_amounts_hold_up_no_later_question_or_wish<H: StoreHarness>() {
    let f = Fixture::<H>::open().await;
    let run = f.claimed().await;
    let most = Spend {
        requests: u64::MAX,
        tokens: u64::MAX,
        micro_usd: MicroUsd(u64::MAX),
        unpriced: u64::MAX,
        busy_ms: u64::MAX,
    };
    let provider = Account::Provider("p".to_owned());
    for day in (TODAY.0 - 30..=TODAY.0).map(Day) {
        for _ in 0..2 {
            let lines = [project(&run), provider.clone()];
            let lines = lines.map(|account| SpendLine { account, day }).to_vec();
            f.store.book(most, lines).await.expect("the store answers");
        }
    }
    let unlimited = |id: &str| Reserve { amount: most, limits: vec![], ..wish(&run, id, 0, 0) };
    for id in ["a", "b", "c", "d", "e", "f", "g", "h", "i"] {
        let reserved = f.store.reserve(unlimited(id)).await.expect("the store answers");
        assert_eq!(reserved, Reserved::Granted, "{id}");
    }
    for day in [None, Some(TODAY)] {
        for account in [None, Some(project(&run)), Some(provider.clone())] {
            let spent = f.spent(account.clone(), day).await;
            let booked = spent.booked;
            let least = [booked.requests, booked.tokens, booked.micro_usd.0, booked.busy_ms];
            assert!(least.iter().all(|sum| *sum >= AMOUNT_MIN), "{account:?} {day:?} {spent:?}");
            let reserved = spent.reserved.tokens >= AMOUNT_MIN;
            assert_eq!(reserved, account != Some(provider.clone()), "{account:?} {spent:?}");
        }
    }
    assert!(refused(f.wish(&run, "j", 1, AMOUNT_MIN).await));
    let query = SpendQuery { account: Some(Account::Tree(run.id)), day: None };
    let budget = Budget { tokens: Some(1), ..Budget::default() };
    let modest = Reserve { limits: vec![(query, budget)], ..wish(&run, "k", 1, 0) };
    assert_eq!(f.store.reserve(modest).await.expect("the store answers"), Reserved::Granted);
    ended(&f, &run).await;
    let (booked, reserved) = f.sums(None, Some(TODAY)).await;
    assert!(booked >= AMOUNT_MIN && reserved == 0, "{booked} {reserved}");
}
