//! What was asked of the target, by kind.

use serde::Serialize;
use strongroom_core::target::layers::TargetMetrics;

use crate::output::human;

/// Calls by kind, and bytes that went through.
#[derive(Debug, Serialize)]
pub struct Requests {
    put: u64,
    get: u64,
    head: u64,
    list: u64,
    delete: u64,
    /// Over the wire, where the backend counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    sent: Option<u64>,
    bytes_sent: u64,
    bytes_received: u64,
}

impl From<TargetMetrics> for Requests {
    fn from(metrics: TargetMetrics) -> Self {
        Self {
            put: metrics.put.calls,
            get: metrics.get.calls,
            head: metrics.head.calls,
            list: metrics.list.calls,
            delete: metrics.delete.calls,
            sent: metrics.requests_sent,
            bytes_sent: metrics.put.bytes,
            bytes_received: metrics.get.bytes,
        }
    }
}

impl Requests {
    /// For people, in one line.
    pub fn line(&self) -> String {
        format!(
            "requests: {} put ({}), {} get ({}), {} head, {} list, {} delete",
            self.put,
            human::bytes(self.bytes_sent),
            self.get,
            human::bytes(self.bytes_received),
            self.head,
            self.list,
            self.delete,
        )
    }
}
