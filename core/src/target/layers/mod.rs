//! Wrappers that add one behaviour each to any target.
//!
//! Every layer holds a [`SharedTarget`](super::SharedTarget), is itself a target, and forwards
//! all six calls by hand, so that a call added to the trait cannot slip past a layer unseen.
//! `Display` passes through: a person reads the place, not what stands around it.
//!
//! Usual order, outermost first: parity, metrics, retry, concurrency limit, rate limit, prefix, backend.
//! Then a retry waits without holding a permit, and is counted by nobody but the storage.

mod concurrency_limit;
mod fault;
mod metrics;
mod parity;
mod prefix;
mod rate_limit;
mod record;
mod retry;

pub use self::{
    concurrency_limit::ConcurrencyLimitLayer,
    fault::{FaultEffect, FaultLayer, FaultRule, KeyPattern, When},
    metrics::{MetricsLayer, OperationMetrics, TargetMetrics},
    parity::{Healing, ParityLayer, ParityScheme, ScrubOptions, ScrubReport, Unhealed},
    prefix::PrefixLayer,
    rate_limit::{RateLimitConfig, RateLimitLayer},
    record::{Call, Outcome, RecordLayer, Recorded},
    retry::{RetryConfig, RetryLayer},
};

#[cfg(test)]
mod tests;
