//! What the harnesses of providers that speak HTTP have in common.
//!
//! A harness describes its wire once, as a [`Wire`], and gets every scene from it that differs
//! only in the words: refusals, broken connections, floods. What is left is a `match` over the
//! scenes in which the wire itself matters, such as tool calls and usage.

use std::{fmt, sync::Arc};

use agent_runner_core::{
    llm::LlmProvider,
    testing::provider_conformance::{
        FLOOD_BYTES, OptionalScene, PROXY_PAGE, REQUEST_ID, SHORT_WAIT, SPLIT_TEXT, STRUCTURED,
        WAIT, WAIT_UNTIL, WORDS, http_date,
    },
};

use crate::service::{Answer, Request, Service};

/// What a service answers to a request.
pub type Play = Box<dyn Fn(&Request) -> Answer + Send + Sync>;

/// The same answer to every request.
pub fn always(answer: Answer) -> Play {
    Box::new(move |_| answer.clone())
}

/// One answer to a conversation without a tool's result, another one to a conversation with one.
pub fn in_turn(first: Answer, then: Answer) -> Play {
    Box::new(move |request| match request.text.contains("result alpha") {
        false => first.clone(),
        true => then.clone(),
    })
}

/// How a service writes things down.
#[derive(Clone, Copy)]
pub struct Wire {
    /// What every reply begins with.
    pub begin: fn() -> String,
    /// A piece of text.
    pub text: fn(&str) -> String,
    /// The end of a good reply.
    pub end: fn() -> String,
    /// The body of a refusal with that status that says this.
    pub error: fn(u16, &str) -> String,
    /// The same within a stream.
    pub error_in_stream: fn(&str) -> String,
    /// The beginning of an event or line that goes on for ever.
    pub endless: &'static str,
    /// The status of a service without capacity.
    pub overloaded: u16,
    /// The header with the id of the request.
    pub request_id: &'static str,
}

impl Wire {
    /// A reply that says these pieces, without its end.
    pub fn say(&self, pieces: &[&str]) -> String {
        (self.begin)() + &pieces.iter().map(|piece| (self.text)(piece)).collect::<String>()
    }

    /// A whole reply that says these pieces.
    pub fn reply(&self, pieces: &[&str]) -> Answer {
        Answer::ok(&(self.say(pieces) + &(self.end)()))
    }

    fn limited(&self, header: &str, wait: &str) -> Play {
        always(Answer::new(429, &[(header, wait)], &(self.error)(429, "one too many")))
    }

    fn fails(&self, status: u16, headers: &[(&str, &str)]) -> Play {
        always(Answer::new(status, headers, &(self.error)(status, WORDS)))
    }

    /// Plays a scene, if it is one that does not depend on the wire.
    pub fn play(&'static self, scene: OptionalScene) -> Option<Play> {
        let hello = || self.say(&["Hello", " you"]);
        Some(match scene {
            OptionalScene::RateLimited => self.limited("retry-after", &WAIT.as_secs().to_string()),
            OptionalScene::RateLimitedMillis => {
                self.limited("retry-after-ms", &SHORT_WAIT.as_millis().to_string())
            }
            OptionalScene::RateLimitedUntil => Box::new(|_| {
                let until = http_date(WAIT_UNTIL);
                let body = (self.error)(429, "one too many");
                Answer::new(429, &[("retry-after", &until)], &body)
            }),
            OptionalScene::Overloaded => self.fails(self.overloaded, &[]),
            OptionalScene::ServerError => self.fails(500, &[]),
            OptionalScene::ServerErrorInStream => {
                always(Answer::ok(&(hello() + &(self.error_in_stream)(WORDS))))
            }
            OptionalScene::ErrorAsReply => self.fails(200, &[("content-type", "application/json")]),
            OptionalScene::ProxyPage => {
                always(Answer::new(502, &[("content-type", "text/html")], PROXY_PAGE))
            }
            OptionalScene::ProxyPageAsReply => {
                always(Answer::new(200, &[("content-type", "text/html")], PROXY_PAGE))
            }
            OptionalScene::ConnectionReset => always(Answer::default()),
            OptionalScene::RequestId => self.fails(500, &[(self.request_id, REQUEST_ID)]),
            OptionalScene::EndlessEvent => {
                let flood = "x".repeat(64 * 1024);
                always(Answer::ok(&(hello() + self.endless)).then_flood(flood, FLOOD_BYTES))
            }
            OptionalScene::EndlessReply => {
                let flood = (self.text)(&"x".repeat(64 * 1024));
                always(Answer::ok(&hello()).then_flood(flood, FLOOD_BYTES))
            }
            OptionalScene::SplitCharacter => {
                let body = self.say(&[SPLIT_TEXT]) + &(self.end)();
                always(Answer::pieces(body.as_bytes().chunks(1)))
            }
            OptionalScene::CutCharacter => {
                let body = self.say(&[SPLIT_TEXT]);
                let within = body.find('🐢').expect("characters are not escaped") + 2;
                let mut answer = b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n".to_vec();
                answer.extend(&body.as_bytes()[..within]);
                always(Answer::raw(answer))
            }
            OptionalScene::HeldOpen => always(Answer::ok(&hello()).then_silence()),
            OptionalScene::Echo => Box::new(|request| {
                let said = |word: &str| request.text.contains(&format!("\"{word}\""));
                self.reply(if said("tick") { &["ti", "ck"] } else { &["to", "ck"] })
            }),
            OptionalScene::Structured | OptionalScene::StructuredBesideTools => {
                always(self.reply(&[STRUCTURED]))
            }
            _ => return None,
        })
    }
}

/// A provider, and the service that it talks to.
pub struct Stage {
    pub provider: Arc<dyn LlmProvider>,
    pub service: Service,
}

impl fmt::Debug for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stage").field("provider", &self.provider).finish_non_exhaustive()
    }
}

impl Stage {
    /// The bodies of the requests whose line contains `asking`.
    pub fn requests(&self, asking: &str) -> Vec<String> {
        let requests = self.service.requests();
        requests.into_iter().filter(|it| it.line.contains(asking)).map(|it| it.text).collect()
    }
}
