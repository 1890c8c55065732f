//! Makes the type of all events out of their list.

macro_rules! event_bodies {
    ($( $(#[$doc:meta])* $kind:literal $name:ident { $( $(#[$fdoc:meta])* $field:ident : $ty:ty ),* $(,)? } )*) => {
        /// The content of an event, typed.
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
        #[serde(tag = "type", content = "payload")]
        #[non_exhaustive]
        pub enum EventBody {
            $( $(#[$doc])* #[serde(rename = $kind)] $name { $( $(#[$fdoc])* $field: $ty ),* }, )*
        }

        impl EventBody {
            /// Every type that this version writes, with what it means.
            pub const KINDS: &'static [&'static str] = &[$($kind),*];

            /// Its type, dotted lower case.
            #[must_use]
            pub const fn kind(&self) -> &'static str {
                match self { $( Self::$name { .. } => $kind, )* }
            }
        }
    };
}
