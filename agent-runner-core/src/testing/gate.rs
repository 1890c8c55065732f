//! A gate that a test opens when it wants something to go on.

use std::sync::Arc;

use tokio::sync::Semaphore;

/// Holds whoever comes until it is opened, and tells who waits. Clones are the same gate.
#[derive(Debug, Clone)]
pub struct Gate {
    open: Arc<Semaphore>,
    came: Arc<Semaphore>,
}

impl Default for Gate {
    fn default() -> Self {
        Self::new()
    }
}

impl Gate {
    /// A closed gate.
    #[must_use]
    pub fn new() -> Self {
        Self { open: Arc::new(Semaphore::new(0)), came: Arc::new(Semaphore::new(0)) }
    }

    /// Comes to the gate and waits until it is open.
    pub async fn pass(&self) {
        self.came.add_permits(1);
        // The semaphore is never closed; a permit that is given back keeps the gate open.
        let _open = self.open.acquire().await;
    }

    /// Opens the gate for everybody, for ever.
    pub fn open(&self) {
        self.open.add_permits(1);
    }

    /// Waits until somebody has come to the gate. Each arrival is told once.
    pub async fn wait_for_arrival(&self) {
        if let Ok(arrival) = self.came.acquire().await {
            arrival.forget();
        }
    }
}
