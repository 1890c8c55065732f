//! How many connections there may be, in all and by address.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
};

use crate::options::ApiOptions;

/// Why there is no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// There are too many connections.
    Full,
    /// There are too many of this address.
    Address(IpAddr),
}

/// The places for connections.
#[derive(Debug, Clone)]
pub(super) struct Places {
    taken: Arc<Mutex<Taken>>,
    max: usize,
    per_ip_max: usize,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    by_ip: HashMap<IpAddr, usize>,
}

/// A place; given back when dropped.
#[derive(Debug)]
pub(super) struct Place {
    places: Places,
    ip: IpAddr,
}

impl Places {
    pub(super) fn new(options: &ApiOptions) -> Self {
        Self {
            taken: Arc::default(),
            max: options.connections_max,
            per_ip_max: options.connections_per_ip_max,
        }
    }

    /// A place for a connection from `ip`.
    pub(super) fn take(&self, ip: IpAddr) -> Result<Place, Refused> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if taken.all >= self.max {
            return Err(Refused::Full);
        }
        let of_ip = taken.by_ip.entry(ip).or_default();
        if *of_ip >= self.per_ip_max {
            return Err(Refused::Address(ip));
        }
        *of_ip += 1;
        taken.all += 1;
        Ok(Place { places: self.clone(), ip })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.all = taken.all.saturating_sub(1);
        if let Some(of_ip) = taken.by_ip.get_mut(&self.ip) {
            *of_ip = of_ip.saturating_sub(1);
            // The map is as large as the number of addresses that are connected, not that ever were.
            if *of_ip == 0 {
                taken.by_ip.remove(&self.ip);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_counted_by_address_and_in_all_and_given_back() {
        let options =
            ApiOptions { connections_max: 3, connections_per_ip_max: 2, ..ApiOptions::default() };
        let places = Places::new(&options);
        let (one, two): (IpAddr, IpAddr) = ([10, 0, 0, 1].into(), [10, 0, 0, 2].into());
        let first = places.take(one).unwrap();
        let _second = places.take(one).unwrap();
        assert_eq!(places.take(one).unwrap_err(), Refused::Address(one));
        let third = places.take(two).unwrap();
        assert_eq!(places.take(two).unwrap_err(), Refused::Full);
        drop(first);
        drop(third);
        assert!(places.take(one).is_ok());
        assert_eq!(places.taken.lock().unwrap().by_ip.len(), 1);
    }
}
