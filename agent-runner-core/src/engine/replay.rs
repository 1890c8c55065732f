//! Replays runs from their journals.

use std::{collections::VecDeque, ops::ControlFlow, sync::Arc};

use super::{
    Engine, EngineError,
    code::{Play, Props},
    journal,
};
use crate::{
    code::{Code, Decision},
    id::RunId,
    machine::{Divergence, Replay, code},
    run::RunStatus,
};

/// What a replay found.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Replayed {
    /// Where the run stands after the events that were replayed.
    pub status: RunStatus,
    /// Events that were replayed.
    pub events: u64,
    /// Decisions among them that came out again: what to ask the model, what to call, how to end; of a
    /// code workflow also what the code decided.
    pub decisions: u64,
    /// The first event that this program would not have written; `None` when all came out again.
    pub differs: Option<Divergence>,
    /// The workflow that this program does not have: what its code would decide is not known.
    pub without_code: Option<String>,
}

/// A decision of the code, with the number and the type of its event.
type Noted = (u64, &'static str, Decision);

impl Engine {
    /// Takes a run's decisions again, from its journal alone: no model is asked, no tool or function
    /// is called, nothing is written. The code of a workflow is run against the journal if this
    /// program has it. A run that has not ended is replayed as far as it is.
    ///
    /// # Errors
    /// `NotFound`; `Internal` for a journal that cannot be read.
    pub async fn replay(&self, id: RunId) -> Result<Replayed, EngineError> {
        self.run(id).await?;
        let (mut replay, mut differs) = (Replay::default(), None);
        let mut noted: Vec<Noted> = Vec::new();
        journal::walk(&*self.inner.store, id, 0, |event, body| {
            if let Some(decision) = code::decision(&body) {
                noted.push((event.seq, body.kind(), decision));
            }
            differs = replay.take(event.seq, &body).err();
            Ok(if differs.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        })
        .await?;
        let mut replayed = Replayed {
            status: replay.status(),
            events: replay.events(),
            decisions: replay.decisions(),
            differs,
            without_code: None,
        };
        if let Some(machine) = replay.state().machine().code()
            && let Some(workflow) = &machine.spec().workflow
        {
            let (name, version) = (&workflow.name, workflow.version);
            match self.inner.codes.get(name, version) {
                Some(code) => self.replay_code(&**code, id, machine, &noted, &mut replayed),
                None => replayed.without_code = Some(format!("`{name}` version {version}")),
            }
        }
        Ok(replayed)
    }

    /// Runs the code against what the journal says that it decided.
    fn replay_code(
        &self,
        code: &dyn Code,
        id: RunId,
        machine: &code::CodeMachine,
        noted: &[Noted],
        replayed: &mut Replayed,
    ) {
        let Some(workflow) = &machine.spec().workflow else { return };
        let props = Props {
            clock: Arc::clone(&self.inner.clock),
            ids: Arc::clone(&self.inner.ids),
            ring: Box::new(|| {}),
        };
        let before: VecDeque<Decision> = noted.iter().map(|(_, _, one)| one.clone()).collect();
        let mut play = Play::new(code, (id, workflow.input.clone()), before, props);
        let differs = play.go_on(machine).err();
        let again = usize::try_from(play.decided()).unwrap_or(usize::MAX).min(noted.len());
        let Some(differs) = differs else {
            replayed.decisions += u64::try_from(again).unwrap_or(u64::MAX);
            return;
        };
        let place = usize::try_from(differs.decision).unwrap_or(usize::MAX);
        let noted = place.checked_sub(1).and_then(|place| noted.get(place)).or(noted.last());
        replayed.differs = Some(Divergence::new(
            noted.map_or(replayed.events, |(seq, _, _)| *seq),
            noted.map_or("run.queued", |(_, kind, _)| kind),
            differs.journal,
            format!("decides: {}", differs.code),
        ));
    }
}
