//! Plays the code of a workflow: polls it, gives it what came back, and compares what it decides
//! with its journal. Live execution and replay are the same play.

use std::{
    collections::VecDeque,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    task::{Context, Poll, Waker},
};

use futures::future::BoxFuture;
use serde_json::Value;
use tracing::{info, warn};

use super::{Engine, EngineError, Inner};
use crate::{
    code::{
        Bell, Code, CodeRegistry, Ctx, Decision, Delivery, Desk, Difference, Foreign, Fresh, Work,
        panic_text,
    },
    id::{IdSource, RunId, StepKey},
    limits,
    machine::code::CodeMachine,
    message::clean_value,
    run::{ParkReason, Run, RunStatus, WorkflowSpec},
    store::{Order, Ready, RunQuery},
    time::Clock,
};

/// The code of one run, as far as it is.
pub(super) struct Play {
    desk: Arc<Desk>,
    bell: Arc<Bell>,
    /// `None` once it has ended.
    code: Option<BoxFuture<'static, Result<Value, String>>>,
    begun: bool,
    /// Answers of the journal that it was given.
    heard: usize,
}

impl fmt::Debug for Play {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Play").field("heard", &self.heard).finish_non_exhaustive()
    }
}

/// What a play gets from its engine.
pub(super) struct Props {
    pub(super) clock: Arc<dyn Clock>,
    pub(super) ids: Arc<dyn IdSource>,
    /// Calls whoever plays when the code is woken by a stranger.
    pub(super) ring: Box<dyn Fn() + Send + Sync>,
}

impl Play {
    /// Begins to play code that has decided `before` already.
    pub(super) fn new(
        code: &dyn Code,
        (run, input): (RunId, Value),
        before: VecDeque<Decision>,
        props: Props,
    ) -> Self {
        let bell = Bell::new(props.ring);
        let desk = Desk::new(before, Arc::clone(&bell), props.clock, props.ids);
        let begin = || code.begin(Ctx::new(Arc::clone(&desk), run), input);
        // The part of a function before its future may panic too.
        let code = catch_unwind(AssertUnwindSafe(begin)).unwrap_or_else(|panic| {
            let said = panicked(&*panic);
            Box::pin(std::future::ready(Err(said)))
        });
        Self { desk, bell, code: Some(code), begun: false, heard: 0 }
    }

    /// Lets the code go on with all that came back; what it decided that is new to the journal.
    pub(super) fn go_on(&mut self, machine: &CodeMachine) -> Result<Vec<Fresh>, Difference> {
        if let Some(foreign) = self.bell.foreign().filter(|_| self.code.is_some()) {
            return Err(self.is_foreign(foreign));
        }
        if !self.begun {
            self.begun = true;
            self.bell.enter();
            let polled = self.poll();
            self.bell.leave();
            polled?;
        }
        while self.code.is_some()
            && let Some(answer) = machine.answers().get(self.heard)
        {
            self.heard += 1;
            self.bell.enter();
            let polled = match self.desk.deliver(&answer.step, answer.outcome.clone()) {
                Delivery::Delivered => self.poll(),
                Delivery::Dropped => Ok(()),
                Delivery::NeverCalled => Err(self.left_out()),
            };
            self.bell.leave();
            polled?;
        }
        match self.desk.missing() {
            Some(_) => Err(self.left_out()),
            None => Ok(self.desk.take_fresh()),
        }
    }

    /// Polls the code until it stands still.
    fn poll(&mut self) -> Result<(), Difference> {
        let waker = Waker::from(Arc::clone(&self.bell));
        let mut cx = Context::from_waker(&waker);
        for _ in 0..limits::CODE_POLLS_MAX {
            let Some(code) = &mut self.code else { return Ok(()) };
            self.bell.take_woken();
            let polled = catch_unwind(AssertUnwindSafe(|| code.as_mut().poll(&mut cx)));
            let ended = match polled {
                Ok(Poll::Ready(ended)) => Some(ended),
                Ok(Poll::Pending) => None,
                Err(panic) => Some(Err(panicked(&*panic))),
            };
            if let Some(ended) = ended {
                self.desk.finish(ended.map(|mut output| {
                    clean_value(&mut output);
                    output
                }));
                self.end();
            }
            if let Some(differs) = self.desk.differs() {
                return Err(differs);
            }
            if self.bell.take_woken() && self.code.is_some() {
                continue;
            }
            return if self.code.is_none() || self.desk.waits() {
                Ok(())
            } else if self.desk.missing().is_some() {
                Err(self.left_out())
            } else {
                Err(self.is_foreign(Foreign::Woken))
            };
        }
        Err(self.differs(
            "nothing",
            "wakes itself again and again without an end",
            "Wait with the calls of `Ctx` and not in a loop",
        ))
    }

    fn end(&mut self) {
        self.desk.close();
        let code = self.code.take();
        if catch_unwind(AssertUnwindSafe(|| drop(code))).is_err() {
            warn!("the code of a workflow panicked while it was cleared away");
        }
    }

    /// What performs a step that the code waits for.
    pub(super) fn work(&self, step: &StepKey) -> Option<Work> {
        self.desk.work(step)
    }

    /// How many decisions the code took.
    pub(super) fn decided(&self) -> u64 {
        self.desk.decided()
    }

    /// The code stands still, or ended, without what the journal says that it did next.
    fn left_out(&self) -> Difference {
        let journal = self.desk.missing().map_or_else(
            || "an answer to a call that the code did not make".to_owned(),
            |decision| decision.to_string(),
        );
        let code = if self.code.is_some() { "nothing more for now" } else { "the end" };
        Difference::changed(self.desk.decided() + 1, journal, code.to_owned())
    }

    fn is_foreign(&self, foreign: Foreign) -> Difference {
        match foreign {
            Foreign::Woken => self.differs(
                "that the code waits for calls of its `Ctx`",
                "waits for something else, such as a timer, a channel or a service",
                "Use `ctx.sleep` and `ctx.wait_for`, and do everything else within `ctx.step`",
            ),
            Foreign::Outside => self.differs(
                "that the code alone uses its `Ctx`",
                "used it outside of itself, in a step or in a task that it spawned",
                "Join branches with `futures::join!` in place of spawning them, and call nothing of \
                 `Ctx` within a step",
            ),
        }
    }

    fn differs(&self, journal: &str, code: &str, advice: &str) -> Difference {
        let decision = self.desk.decided() + 1;
        Difference::because(decision, journal.to_owned(), code.to_owned(), advice)
    }
}

impl Drop for Play {
    fn drop(&mut self) {
        self.end();
    }
}

fn panicked(panic: &(dyn std::any::Any + Send)) -> String {
    format!("the code panicked: {}", panic_text(panic))
}

/// The difference of a program that does not have a workflow at all.
pub(super) fn missing(codes: &CodeRegistry, workflow: &WorkflowSpec) -> Difference {
    let WorkflowSpec { name, version, .. } = workflow;
    Difference::because(
        0,
        format!("workflow `{name}` version {version}"),
        format!("this program has {}", codes.known()),
        "Start a worker that has it",
    )
}

/// Gives the runs that are parked for their code another chance, for this program may have other code
/// than the one that parked them.
pub(super) async fn wake(inner: Arc<Inner>) {
    let mut query = RunQuery {
        statuses: vec![RunStatus::Running],
        order: Order::Ascending,
        limit: limits::PAGE_MAX,
        ..RunQuery::default()
    };
    loop {
        let runs = match inner.store.runs(&query).await {
            Ok(runs) => runs,
            Err(problem) => {
                warn!(error = %problem, "the store does not answer");
                inner.clock.sleep(inner.options.poll_interval).await;
                continue;
            }
        };
        query.after = runs.last().map(|run| run.id);
        let full = runs.len() >= query.limit;
        for run in runs {
            if let Err(problem) = inner.wake(run).await {
                warn!(error = %problem, "a run stays parked for its code");
            }
        }
        if !full {
            return;
        }
    }
}

impl Inner {
    fn may_have_other_code(&self, run: &Run) -> bool {
        let parked = run.park.as_ref().is_some_and(|park| park.reason == ParkReason::Nondet);
        parked
            && !run.pause_requested
            && run.owner.is_none()
            && (run.spec.workflow.as_ref())
                .is_some_and(|code| self.codes.get(&code.name, code.version).is_some())
    }

    /// Makes a run claimable that is parked for its code.
    async fn wake(&self, mut run: Run) -> Result<(), EngineError> {
        for _ in 0..limits::CONTROL_RETRIES_MAX {
            if !self.may_have_other_code(&run) {
                return Ok(());
            }
            let mut batch = self.command(&run);
            batch.patch.park = Some(None);
            batch.ready = Ready::At(self.clock.now());
            if self.write(&run, batch).await? {
                info!(run.id = %run.id, "the run was parked for its code; it is tried again");
                return Ok(());
            }
            run = self.store.run(run.id).await?;
        }
        Err(super::control::busy(run.id))
    }
}

impl Engine {
    /// The workflows that this program has, for people.
    #[must_use]
    pub fn workflows(&self) -> String {
        self.inner.codes.known()
    }
}
