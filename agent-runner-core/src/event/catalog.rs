//! What is to be known of the types of events; `docs/EVENTS.md` is written from it.

/// What is to be known of one type of event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct EventInfo {
    /// Its type, dotted lower case.
    pub kind: &'static str,
    /// What happened, for people.
    pub meaning: &'static str,
    /// Who writes it; at least one.
    pub written_by: &'static [EventWriter],
    /// What is in its payload, besides `message`.
    pub fields: &'static [EventField],
}

/// What is to be known of one field of a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct EventField {
    /// Its name.
    pub name: &'static str,
    /// What it says, for people.
    pub meaning: &'static str,
    /// Its type in the code.
    pub rust_type: &'static str,
    /// Whether it is there.
    pub presence: FieldPresence,
}

/// Whether a field is in a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum FieldPresence {
    /// It is in every payload.
    Always,
    /// It is in every payload that this version writes; older journals may lack it.
    SinceLater,
    /// It is left out where there is nothing to say.
    Optional,
    /// The fields of its value stand in the payload themselves.
    Flattened,
}

/// Who writes an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum EventWriter {
    /// The worker that has the run.
    Worker,
    /// Any engine on the store, without having the run: on a caller's command, or because the run's
    /// time is up and nobody has it.
    Command,
    /// The batch of a related run: its parent, or its child.
    Family,
}

impl EventWriter {
    /// Every writer.
    pub const ALL: [Self; 3] = [Self::Worker, Self::Command, Self::Family];

    /// A word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Worker => "worker",
            Self::Command => "command",
            Self::Family => "family",
        }
    }
}
