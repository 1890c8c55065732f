//! The methods of a store by name.

macro_rules! calls {
    ($(#[$doc:meta] $name:ident)*) => {
        /// A method of a store.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[non_exhaustive]
        pub enum StoreCall { $(#[$doc] $name,)* }

        impl StoreCall {
            /// Every method that can fail.
            pub const ALL: &[Self] = &[$(Self::$name,)*];
        }
    };
}

calls! {
    /// [`Store::create`](crate::store::Store::create).
    Create
    /// [`Store::append`](crate::store::Store::append).
    Append
    /// [`Store::reserve`](crate::store::Store::reserve).
    Reserve
    /// [`Store::book`](crate::store::Store::book).
    Book
    /// [`Store::claim`](crate::store::Store::claim).
    Claim
    /// [`Store::beat`](crate::store::Store::beat).
    Beat
    /// [`Store::leave`](crate::store::Store::leave).
    Leave
    /// [`Store::sweep`](crate::store::Store::sweep).
    Sweep
    /// [`Store::delete`](crate::store::Store::delete).
    Delete
    /// [`Store::remove_artifact`](crate::store::Store::remove_artifact).
    RemoveArtifact
    /// [`RecordStore::put_record`](crate::store::RecordStore::put_record).
    PutRecord
    /// [`RecordStore::delete_record`](crate::store::RecordStore::delete_record).
    DeleteRecord
    /// [`Store::spent`](crate::store::Store::spent).
    Spent
    /// [`Store::owned`](crate::store::Store::owned).
    Owned
    /// [`Store::run`](crate::store::Store::run).
    Run
    /// [`Store::runs`](crate::store::Store::runs).
    Runs
    /// [`Store::events`](crate::store::Store::events).
    Events
    /// [`Store::steps`](crate::store::Store::steps).
    Steps
    /// [`Store::snapshot`](crate::store::Store::snapshot).
    Snapshot
    /// [`Store::blob`](crate::store::Store::blob).
    Blob
    /// [`Store::artifacts`](crate::store::Store::artifacts).
    Artifacts
    /// [`Store::artifact`](crate::store::Store::artifact).
    Artifact
    /// [`Store::used_blobs`](crate::store::Store::used_blobs).
    UsedBlobs
    /// [`Store::approvals`](crate::store::Store::approvals).
    Approvals
    /// [`Store::approval`](crate::store::Store::approval).
    Approval
    /// [`Store::workers`](crate::store::Store::workers).
    Workers
    /// [`Store::check`](crate::store::Store::check).
    Check
    /// [`RecordStore::record`](crate::store::RecordStore::record).
    Record
    /// [`RecordStore::records`](crate::store::RecordStore::records).
    Records
}

impl StoreCall {
    /// Every method that writes.
    pub const WRITES: &[Self] = &[
        Self::Create,
        Self::Append,
        Self::Reserve,
        Self::Book,
        Self::Claim,
        Self::Beat,
        Self::Leave,
        Self::Sweep,
        Self::Delete,
        Self::RemoveArtifact,
        Self::PutRecord,
        Self::DeleteRecord,
    ];
}
