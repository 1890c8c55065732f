//! What a person sees of a run while it goes on.

use std::io;

use agent_runner::{
    agent::ToolMode,
    engine::{Frame, LiveFrame, LiveKind},
    event::{Event, EventBody, Reply},
    id::StepKey,
    run::Run,
};
use serde_json::Value;

use crate::terminal::{Terminal, Tone, printable, short};

/// Most characters of a tool's arguments in a line.
const ARGUMENT_CHARS: usize = 100;

/// Shows a run: steps on standard error; the model's words on standard output as they come when
/// a person reads it, the answer alone when a program does.
#[derive(Debug)]
pub(crate) struct View {
    terminal: Terminal,
    /// The cursor is behind text without a line break.
    open_line: bool,
    /// The model's replies are texts to read, not the JSON of a constrained reply.
    readable: bool,
    said: Said,
}

/// What was streamed of the present reply.
#[derive(Debug, Default)]
struct Said {
    of: Option<(StepKey, u32)>,
    text: String,
}

impl View {
    pub(crate) fn new(terminal: Terminal) -> Self {
        Self { terminal, open_line: false, readable: true, said: Said::default() }
    }

    /// Shows a frame.
    pub(crate) fn frame(&mut self, frame: &Frame) -> io::Result<()> {
        match frame {
            Frame::Event(event) => self.event(event),
            Frame::Live(live) => self.live(live),
            Frame::Reset { .. } | Frame::End { .. } => Ok(()),
        }
    }

    fn live(&mut self, frame: &LiveFrame) -> io::Result<()> {
        if !self.terminal.live || !self.readable || frame.kind != LiveKind::Text {
            return Ok(());
        }
        let of = (frame.step.clone(), frame.attempt);
        if self.said.of.as_ref() != Some(&of) {
            self.close_line()?;
            self.said = Said { of: Some(of), text: String::new() };
        }
        if frame.offset != self.said.text.len() {
            self.terminal.text(" […] ")?;
        }
        self.said.text.push_str(&frame.text);
        self.terminal.text(&printable(&frame.text))?;
        self.open_line = !self.said.text.ends_with('\n');
        Ok(())
    }

    fn event(&mut self, event: &Event) -> io::Result<()> {
        // A payload that stands elsewhere, or of a newer version, has no sentence.
        let Ok(Some(body)) = EventBody::from_event(event) else { return Ok(()) };
        match &body {
            EventBody::LlmStarted { tool_mode, .. } => {
                self.readable = *tool_mode != ToolMode::Constrained;
            }
            EventBody::LlmCompleted {
                step, reply_message, reply: Reply::ToolCalls { .. }, ..
            } => {
                self.words(step, &reply_message.plain_text())?;
            }
            _ => {}
        }
        let Some((tone, line)) = line(&body) else { return Ok(()) };
        self.close_line()?;
        self.terminal.note(tone, &line);
        Ok(())
    }

    /// Shows what a model said besides calling tools, unless it was seen as it came: another
    /// process may have had the run.
    fn words(&mut self, step: &StepKey, text: &str) -> io::Result<()> {
        let seen = self.said.of.as_ref().is_some_and(|(of, _)| of == step);
        if self.terminal.live && self.readable && !seen && !text.trim().is_empty() {
            self.close_line()?;
            self.terminal.line(printable(text).trim_end())?;
        }
        Ok(())
    }

    /// Shows what the run produced, unless it was seen as it came.
    pub(crate) fn answer(&mut self, run: &Run) -> io::Result<()> {
        let seen = match &run.output {
            None => true,
            Some(Value::String(text)) => self.terminal.live && self.said.text == *text,
            Some(_) => false,
        };
        self.close_line()?;
        match &run.output {
            Some(Value::String(text)) if !seen => self.terminal.line(&self.shown(text)),
            Some(value) if !seen => {
                let pretty = serde_json::to_string_pretty(value)?;
                self.terminal.line(&self.shown(&pretty))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// A program gets the text as it is, a terminal what it can take; both get one line break.
    fn shown(&self, text: &str) -> String {
        let text = text.strip_suffix('\n').unwrap_or(text);
        if self.terminal.live { printable(text) } else { text.to_owned() }
    }

    fn close_line(&mut self) -> io::Result<()> {
        if std::mem::take(&mut self.open_line) { self.terminal.text("\n") } else { Ok(()) }
    }
}

/// The line for an event; `None` for what a person need not see to follow a run.
fn line(body: &EventBody) -> Option<(Tone, String)> {
    let (tone, text) = match body {
        EventBody::RunQueued { .. }
        | EventBody::RunClaimed { recovered: false, .. }
        | EventBody::RunCompleted { .. }
        | EventBody::RunFailed { .. }
        | EventBody::RunCanceled { .. }
        | EventBody::StepStarted { .. }
        | EventBody::StepSucceeded { .. }
        | EventBody::StepSkipped { .. }
        | EventBody::LlmCompleted {
            reply: Reply::ToolCalls { .. } | Reply::Answer { .. }, ..
        } => {
            return None;
        }
        EventBody::ToolStarted { tool, arguments, .. } => {
            (Tone::Quiet, format!("→ {tool} {}", short(&arguments.to_string(), ARGUMENT_CHARS)))
        }
        EventBody::ToolCompleted { tool, elapsed_ms, .. } => {
            (Tone::Good, format!("✓ {tool} ({elapsed_ms} ms)"))
        }
        EventBody::ToolFailed { .. } => (Tone::Bad, format!("✗ {}", body.sentence())),
        EventBody::StepFailed { .. } => (Tone::Bad, body.sentence()),
        EventBody::StepUnknown { .. }
        | EventBody::StepIndeterminate { .. }
        | EventBody::StepRetrying { .. }
        | EventBody::RunParked { .. }
        | EventBody::RunPaused {} => (Tone::Loud, body.sentence()),
        other => (Tone::Quiet, other.sentence()),
    };
    Some((tone, printable(&text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tool_call_is_one_line_and_bookkeeping_is_none() {
        let started = EventBody::ToolStarted {
            step: StepKey::new("turn.1.tool.1"),
            call_id: "c".to_owned(),
            tool: "files.write".to_owned(),
            arguments: serde_json::json!({"path": "a\u{1b}[2J", "text": "x".repeat(500)}),
            attempt: 1,
        };
        let (_, text) = line(&started).unwrap();
        assert!(text.starts_with("→ files.write {"), "{text}");
        assert!(text.chars().count() < 130 && !text.contains('\u{1b}'), "{text}");
        assert_eq!(line(&EventBody::StepSucceeded { step: StepKey::new("s") }), None);
    }
}
