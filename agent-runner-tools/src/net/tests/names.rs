//! Names that lead where they should not.

use std::sync::Mutex;

use super::*;
use crate::net::address::closed_addresses;

/// Answers what it is told to.
#[derive(Debug, Default)]
struct Lies(Mutex<Vec<SocketAddr>>);

impl Lookup for Lies {
    fn lookup(&self, _name: String) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> {
        let answers = self.0.lock().unwrap().clone();
        Box::pin(async move { Ok(answers) })
    }
}

fn liar() -> (GuardedClient, Arc<Lies>) {
    let lies = Arc::new(Lies::default());
    let lookup: Arc<dyn Lookup> = Arc::clone(&lies) as _;
    let reach = Reach::Open(HttpAllow::default());
    let client = GuardedClient::with_lookup(reach, NetLimits::default(), "t/1", &lookup).unwrap();
    (client, lies)
}

fn lied_to(answers: Vec<SocketAddr>) -> GuardedClient {
    let (client, lies) = liar();
    *lies.0.lock().unwrap() = answers;
    client
}

#[tokio::test]
async fn a_name_for_a_closed_address_is_not_dialled() {
    let (client, lies) = liar();
    for address in closed_addresses() {
        *lies.0.lock().unwrap() = vec![SocketAddr::new(address, 0)];
        assert_blocked(get(&client, "http://evil.example/").await, &address.to_string());
    }
}

#[tokio::test]
async fn one_closed_answer_spoils_the_others() {
    let public: SocketAddr = "1.1.1.1:0".parse().unwrap();
    let closed: SocketAddr = "10.0.0.1:0".parse().unwrap();
    for answers in [vec![public, closed], vec![closed, public]] {
        assert_blocked(get(&lied_to(answers), "http://evil.example/").await, "mixed");
    }
}

#[tokio::test]
async fn a_name_without_an_answer_is_an_error_that_sent_nothing() {
    let error = get(&lied_to(Vec::new()), "http://nowhere.example/").await.unwrap_err();
    assert_eq!(error.kind(), ToolErrorKind::Network);
    assert!(!error.effect_possible());
}

#[tokio::test]
async fn a_lookup_that_hangs_ends() {
    #[derive(Debug)]
    struct Hangs;
    impl Lookup for Hangs {
        fn lookup(&self, _: String) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> {
            Box::pin(std::future::pending())
        }
    }
    let lookup: Arc<dyn Lookup> = Arc::new(Hangs);
    let limits = NetLimits { total: Duration::from_millis(100), ..NetLimits::default() };
    let reach = Reach::Open(HttpAllow::default());
    let client = GuardedClient::with_lookup(reach, limits, "test/1", &lookup).unwrap();
    let error = get(&client, "http://slow.example/").await.unwrap_err();
    assert_eq!(error.kind(), ToolErrorKind::Timeout);
}
