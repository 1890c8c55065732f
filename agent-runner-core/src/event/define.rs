//! Makes the type of all events, and what is to be known of each, out of their list.

macro_rules! event_bodies {
    ($(
        $(#[doc = $doc:literal])*
        $kind:literal $name:ident by [$($writer:ident),*] {
            $( $(#[doc = $fdoc:literal])* $(#[serde($($attr:tt)*)])? $field:ident : $ty:ty ),* $(,)?
        }
    )*) => {
        /// The content of an event, typed.
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
        #[serde(tag = "type", content = "payload")]
        #[non_exhaustive]
        pub enum EventBody {
            $(
                $(#[doc = $doc])*
                #[serde(rename = $kind)]
                $name { $( $(#[doc = $fdoc])* $(#[serde($($attr)*)])? $field: $ty ),* },
            )*
        }

        impl EventBody {
            /// Every type that this version writes.
            pub const KINDS: &'static [&'static str] = &[$($kind),*];

            /// What is to be known of every type, in the order of [`EventBody::KINDS`].
            pub const CATALOG: &'static [EventInfo] = &[$(
                EventInfo {
                    kind: $kind,
                    meaning: concat!($($doc),*).trim_ascii(),
                    written_by: &[$(EventWriter::$writer),*],
                    fields: &[$(
                        EventField {
                            name: stringify!($field),
                            meaning: concat!($($fdoc),*).trim_ascii(),
                            rust_type: stringify!($ty),
                            presence: presence!($($($attr)*)?),
                        }
                    ),*],
                }
            ),*];

            /// Its type, dotted lower case.
            #[must_use]
            pub const fn kind(&self) -> &'static str {
                match self { $( Self::$name { .. } => $kind, )* }
            }
        }
    };
}

/// What the `serde` attribute of a field says about its presence.
macro_rules! presence {
    () => {
        FieldPresence::Always
    };
    (default) => {
        FieldPresence::SinceLater
    };
    (default, skip_serializing_if = $absent:literal) => {
        FieldPresence::Optional
    };
    (flatten) => {
        FieldPresence::Flattened
    };
}
