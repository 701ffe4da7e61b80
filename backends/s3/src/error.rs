//! From what the SDK and the storage say to what it means for a caller.
//!
//! [`Failure`] is an SDK error of any operation, reduced to what decides; the table of codes
//! below gives its kind and hint. Knows no operation of its own.

use std::{error::Error, fmt, time::Duration};

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_s3::{
    config::http::HttpResponse,
    error::{ProvideErrorMetadata, SdkError},
};
use strongroom_core::target::{Operation, TargetError, TargetErrorKind as Kind};

use crate::flow::Stalled;

/// Longer texts from a storage are cut.
const TEXT_CHARS_MAX: usize = 300;

/// A failed request.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The storage answered, and refused.
    Answer(Answer),
    /// No credentials were found, or a source of them failed.
    Credentials(String),
    /// No answer: no connection, a broken one, or one that was silent for too long.
    NoAnswer(String),
    /// An answer that makes no sense: cut short, or not what S3 sends.
    Nonsense(String),
    /// What arrived has another checksum than what the storage holds.
    Checksum(String),
    /// The certificate of the server is not trusted.
    Certificate(String),
    /// The request could not even be made.
    Request(String),
}

/// What the storage answered.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// S3's code, if there was a body to read it from.
    pub(crate) code: Option<String>,
    pub(crate) message: Option<String>,
    pub(crate) retry_after: Option<Duration>,
    /// The region that the bucket lies in, where the storage says so.
    pub(crate) region: Option<String>,
}

impl Failure {
    /// What an SDK error is about.
    pub(crate) fn of<E>(error: SdkError<E, HttpResponse>) -> Self
    where
        E: ProvideErrorMetadata + Error + 'static,
    {
        let text = chain(&error);
        if finds(&error, |cause| cause.is::<CredentialsError>()) {
            return Self::Credentials(text);
        }
        match error {
            // Neither a result nor a refusal that the SDK can read.
            SdkError::ServiceError(answered)
                if answered.raw().status().is_success() && answered.err().code().is_none() =>
            {
                Self::Nonsense(text)
            }
            SdkError::ServiceError(answered) => {
                let (refusal, raw) = (answered.err(), answered.raw());
                Self::Answer(Answer {
                    code: refusal.code().map(str::to_owned),
                    message: refusal.message().map(bounded),
                    ..Answer::of(raw)
                })
            }
            SdkError::ResponseError(answered) if !answered.raw().status().is_success() => {
                Self::Answer(Answer::of(answered.raw()))
            }
            SdkError::ResponseError(_) => Self::Nonsense(text),
            SdkError::DispatchFailure(failure) if failure.is_user() => Self::Request(text),
            SdkError::ConstructionFailure(_) => Self::Request(text),
            _ => Self::no_answer(text),
        }
    }

    /// What a body that broke off is about.
    pub(crate) fn of_body(error: &(dyn Error + 'static)) -> Self {
        let text = chain(error);
        match text.contains("checksum mismatch") {
            true => Self::Checksum(text),
            false => Self::NoAnswer(text),
        }
    }

    fn no_answer(text: String) -> Self {
        let lower = text.to_ascii_lowercase();
        let is_refused = ["invalid peer certificate", "unknownissuer", "certificate"];
        match is_refused.iter().any(|word| lower.contains(word)) {
            true => Self::Certificate(text),
            false => Self::NoAnswer(text),
        }
    }

    pub(crate) fn stalled(_: Stalled) -> Self {
        Self::NoAnswer("nothing moved for too long".to_owned())
    }

    /// S3's code, or nothing.
    pub(crate) fn code(&self) -> &str {
        match self {
            Self::Answer(answer) => answer.code.as_deref().unwrap_or_default(),
            _ => "",
        }
    }

    /// The status of the answer; 0 without one.
    pub(crate) fn status(&self) -> u16 {
        match self {
            Self::Answer(answer) => answer.status,
            _ => 0,
        }
    }

    /// How long the storage asks to wait.
    pub(crate) fn wait_asked(&self) -> Option<Duration> {
        match self {
            Self::Answer(answer) => answer.retry_after,
            _ => None,
        }
    }

    /// Whether the same request may succeed later.
    pub(crate) fn is_retryable(&self) -> bool {
        self.meaning().is_retryable
    }

    /// Whether the storage may have done what it was asked to.
    pub(crate) fn is_ambiguous(&self) -> bool {
        match self {
            Self::Answer(answer) => answer.status >= 500 || answer.status == 200,
            Self::NoAnswer(_) | Self::Nonsense(_) => true,
            Self::Credentials(_) | Self::Checksum(_) | Self::Certificate(_) | Self::Request(_) => {
                false
            }
        }
    }

    /// Whether another request for the same key was in the way, and nothing was decided.
    pub(crate) fn is_conflict(&self) -> bool {
        matches!(self.code(), "ConditionalRequestConflict" | "OperationAborted")
            || (self.status() == 409 && !matches!(self.code(), "InvalidBucketState"))
    }

    /// Whether a condition of ours does not hold: the object exists.
    pub(crate) fn is_exists(&self) -> bool {
        self.code() == "PreconditionFailed" || self.status() == 412
    }

    /// The error for the caller of `operation`.
    pub(crate) fn into_error(self, operation: Operation) -> TargetError {
        let meaning = self.meaning();
        let mut error =
            TargetError::new(meaning.kind, operation, meaning.what).retryable(meaning.is_retryable);
        if let Some(hint) = meaning.hint {
            error = error.hint(hint);
        }
        if let Some(wait) = self.wait_asked() {
            error = error.retry_after(wait);
        }
        error.because(Detail(self.to_string()))
    }

    fn meaning(&self) -> Meaning {
        match self {
            Self::Answer(answer) => answer.meaning(),
            Self::Credentials(_) => Meaning::of(Kind::Denied, "no credentials for S3").hint(
                "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, name a profile by profile=NAME, \
                 log in with aws sso login, or run where a role is attached",
            ),
            Self::NoAnswer(_) => Meaning::of(Kind::Unavailable, "the storage does not answer"),
            Self::Nonsense(_) => {
                Meaning::of(Kind::Unavailable, "the storage's answer makes no sense")
            }
            Self::Checksum(_) => {
                let what = "what arrived is not what the storage holds";
                Meaning { is_retryable: true, ..Meaning::of(Kind::Corrupt, what) }
            }
            Self::Certificate(_) => {
                let what = "the server's certificate is not trusted";
                Meaning { is_retryable: false, ..Meaning::of(Kind::Unavailable, what) }
                    .hint("name the CA's certificate by ca-file=PATH or AWS_CA_BUNDLE")
            }
            Self::Request(_) => Meaning::of(Kind::Invalid, "the request cannot be made")
                .hint("check region and endpoint: region=NAME, endpoint=http(s)://host[:port]"),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Answer(answer) => answer.fmt(f),
            Self::Credentials(text)
            | Self::NoAnswer(text)
            | Self::Nonsense(text)
            | Self::Checksum(text)
            | Self::Certificate(text)
            | Self::Request(text) => f.write_str(text),
        }
    }
}

impl Answer {
    fn of(raw: &HttpResponse) -> Self {
        let header = |name: &str| raw.headers().get(name).map(str::to_owned);
        let seconds = header("retry-after").and_then(|text| text.trim().parse().ok());
        Self {
            status: raw.status().as_u16(),
            code: None,
            message: None,
            retry_after: seconds.map(Duration::from_secs),
            region: header("x-amz-bucket-region"),
        }
    }

    fn meaning(&self) -> Meaning {
        let code = self.code.as_deref().unwrap_or_default();
        if let Some(meaning) = self.of_region(code).or_else(|| self.of_lock(code)) {
            return meaning;
        }
        of_code(code).unwrap_or_else(|| of_status(self.status))
    }

    /// Answers that say that the bucket does not lock objects: AWS has no code for it.
    fn of_lock(&self, code: &str) -> Option<Meaning> {
        let message = self.message.as_deref().unwrap_or_default().to_ascii_lowercase();
        let is_about_lock = message.contains("object lock") || message.contains("retention");
        let is_refusal =
            matches!(code, "InvalidRequest" | "InvalidBucketState" | "InvalidArgument");
        (is_refusal && is_about_lock).then(no_object_lock)
    }

    /// Answers that say that the bucket lies elsewhere.
    fn of_region(&self, code: &str) -> Option<Meaning> {
        let message = self.message.as_deref().unwrap_or_default();
        let is_elsewhere = matches!(
            code,
            "PermanentRedirect"
                | "TemporaryRedirect"
                | "Redirect"
                | "IllegalLocationConstraint"
                | "IllegalLocationConstraintException"
        ) || (300..400).contains(&self.status) && self.status != 304
            || code == "AuthorizationHeaderMalformed" && message.contains("region");
        // "the region 'us-east-1' is wrong; expecting 'eu-central-1'"
        let expected = message.split("expecting '").nth(1).and_then(|rest| rest.split('\'').next());
        let region = self.region.as_deref().or(expected).map(bounded);
        is_elsewhere.then(|| match region {
            Some(region) => Meaning::of(Kind::Invalid, format!("the bucket lies in {region}"))
                .hint(format!("set region={region} in the URL")),
            None => Meaning::of(Kind::Invalid, "the bucket lies in another region")
                .hint("set region=NAME in the URL"),
        })
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.code {
            Some(code) => write!(f, "{code} (status {})", self.status)?,
            None => write!(f, "status {}", self.status)?,
        }
        match &self.message {
            Some(message) => write!(f, ": {message}"),
            None => Ok(()),
        }
    }
}

/// What a failure means: the row of a table.
struct Meaning {
    kind: Kind,
    what: String,
    hint: Option<String>,
    is_retryable: bool,
}

impl Meaning {
    fn of(kind: Kind, what: impl Into<String>) -> Self {
        let is_retryable = matches!(kind, Kind::Throttled | Kind::Unavailable);
        Self { kind, what: what.into(), hint: None, is_retryable }
    }

    fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }
}

fn of_code(code: &str) -> Option<Meaning> {
    let kind = match code {
        "SlowDown"
        | "TooManyRequests"
        | "Throttling"
        | "ThrottlingException"
        | "RequestLimitExceeded"
        | "BandwidthLimitExceeded"
        | "SlowDownRead"
        | "SlowDownWrite" => {
            return Some(Meaning::of(Kind::Throttled, "the storage asks for fewer requests"));
        }
        "InternalError"
        | "ServiceUnavailable"
        | "RequestTimeout"
        | "OperationAborted"
        | "ConditionalRequestConflict"
        | "IncompleteBody"
        | "NoSuchUpload" => {
            return Some(Meaning::of(Kind::Unavailable, "the storage could not do it now"));
        }
        "BadDigest" | "XAmzContentChecksumMismatch" | "XAmzContentSHA256Mismatch" => {
            let what = "what arrived at the storage is not what was sent";
            return Some(Meaning { is_retryable: true, ..Meaning::of(Kind::Corrupt, what) });
        }
        "NoSuchKey" | "NoSuchVersion" => {
            return Some(Meaning::of(Kind::NotFound, "no such object"));
        }
        "NoSuchBucket" => {
            return Some(
                Meaning::of(Kind::NotFound, "no such bucket")
                    .hint("check the name and the region, or create it"),
            );
        }
        "PreconditionFailed" => return Some(Meaning::of(Kind::AlreadyExists, "exists already")),
        "EntityTooLarge" => {
            return Some(Meaning::of(Kind::Invalid, "larger than the storage takes"));
        }
        "NotImplemented" | "MethodNotAllowed" => Kind::Unsupported,
        _ => return of_denied(code).or_else(|| of_state(code)),
    };
    Some(Meaning::of(kind, "the storage cannot do that"))
}

/// Codes that say that the credentials are wrong or lack a right.
fn of_denied(code: &str) -> Option<Meaning> {
    let hint = match code {
        "InvalidAccessKeyId" | "InvalidClientTokenId" | "NotSignedUp" => {
            "the storage does not know this access key: check AWS_ACCESS_KEY_ID and the endpoint"
        }
        "SignatureDoesNotMatch" => "check AWS_SECRET_ACCESS_KEY",
        "ExpiredToken" | "TokenRefreshRequired" | "ExpiredTokenException" | "RequestExpired" => {
            "the session has ended: log in again, or renew the temporary credentials"
        }
        "InvalidToken" => "check AWS_SESSION_TOKEN",
        "RequestTimeTooSkewed" => "the clock of this machine is wrong: set it, best by NTP",
        "AccessDenied" | "AllAccessDisabled" | "AccountProblem" | "InvalidSecurity"
        | "UnauthorizedAccess" | "Forbidden" | "AccessForbidden" => {
            "the credentials lack a right: docs/permissions/s3.json has what is needed"
        }
        "BucketAlreadyExists" => "the bucket belongs to somebody else: take another name",
        "KMS.DisabledException"
        | "KMS.KMSInvalidStateException"
        | "KMS.NotFoundException"
        | "KMS.AccessDeniedException" => "check the KMS key, its state and its policy",
        _ => return None,
    };
    Some(Meaning::of(Kind::Denied, "the storage refuses").hint(hint))
}

fn no_object_lock() -> Meaning {
    Meaning::of(Kind::Invalid, "the bucket does not lock objects")
        .hint("turn Object Lock on for the bucket, or leave object-lock out of the URL")
}

/// Codes about the state of an object, a bucket or the storage itself.
fn of_state(code: &str) -> Option<Meaning> {
    Some(match code {
        "InvalidObjectState" => {
            let what = "the object is archived";
            Meaning { is_retryable: false, ..Meaning::of(Kind::Unavailable, what) }
                .hint("restore it first (aws s3api restore-object), then try again")
        }
        "QuotaExceeded"
        | "XMinioStorageFull"
        | "XMinioAdminBucketQuotaExceeded"
        | "InsufficientCapacity"
        | "StorageFull"
        | "TooManyBuckets" => {
            Meaning::of(Kind::Full, "no room").hint("free some room, or raise the quota")
        }
        "ObjectLockConfigurationNotFoundError" | "InvalidBucketState" => no_object_lock(),
        "InvalidStorageClass" => Meaning::of(Kind::Invalid, "the storage lacks this storage class"),
        _ => return None,
    })
}

fn of_status(status: u16) -> Meaning {
    match status {
        401 | 403 => Meaning::of(Kind::Denied, "the storage refuses").hint(
            "check the credentials and their rights: docs/permissions/s3.json has what is needed",
        ),
        404 => Meaning::of(Kind::NotFound, "not there"),
        405 | 501 => Meaning::of(Kind::Unsupported, "the storage cannot do that"),
        408 | 409 | 500 | 502 | 504 => {
            Meaning::of(Kind::Unavailable, "the storage could not do it now")
        }
        412 => Meaning::of(Kind::AlreadyExists, "exists already"),
        413 => Meaning::of(Kind::Invalid, "larger than the storage takes"),
        429 | 503 => Meaning::of(Kind::Throttled, "the storage asks for fewer requests"),
        507 => Meaning::of(Kind::Full, "no room").hint("free some room, or raise the quota"),
        200 | 505.. => Meaning::of(Kind::Unavailable, "the storage could not do it now"),
        400 => Meaning::of(Kind::Invalid, "the storage does not understand"),
        _ => Meaning::of(Kind::Unexpected, "the storage refuses"),
    }
}

/// A cause as text: the SDK's own errors hold requests and answers, which nobody wants to keep.
#[derive(Debug)]
struct Detail(String);

impl fmt::Display for Detail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for Detail {}

/// The texts of an error and its causes, each once.
fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.contains(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        cause = error.source();
    }
    bounded(&text)
}

fn finds(error: &(dyn Error + 'static), is_it: impl Fn(&(dyn Error + 'static)) -> bool) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if is_it(error) {
            return true;
        }
        cause = error.source();
    }
    false
}

fn bounded(text: &str) -> String {
    let is_bad = |c: char| if c.is_control() { ' ' } else { c };
    text.trim().chars().take(TEXT_CHARS_MAX).map(is_bad).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, code: &str) -> Failure {
        let code = Some(code.to_owned()).filter(|code| !code.is_empty());
        Failure::Answer(Answer { status, code, ..Answer::default() })
    }

    #[test]
    fn codes_and_statuses_say_what_to_do() {
        for (status, code, kind, is_retryable) in [
            (403, "AccessDenied", Kind::Denied, false),
            (403, "InvalidAccessKeyId", Kind::Denied, false),
            (403, "SignatureDoesNotMatch", Kind::Denied, false),
            (400, "ExpiredToken", Kind::Denied, false),
            (403, "RequestTimeTooSkewed", Kind::Denied, false),
            (503, "SlowDown", Kind::Throttled, true),
            (429, "", Kind::Throttled, true),
            (503, "", Kind::Throttled, true),
            (500, "InternalError", Kind::Unavailable, true),
            (502, "", Kind::Unavailable, true),
            (504, "", Kind::Unavailable, true),
            (200, "InternalError", Kind::Unavailable, true),
            (404, "NoSuchBucket", Kind::NotFound, false),
            (404, "", Kind::NotFound, false),
            (412, "PreconditionFailed", Kind::AlreadyExists, false),
            (403, "InvalidObjectState", Kind::Unavailable, false),
            (403, "QuotaExceeded", Kind::Full, false),
            (507, "", Kind::Full, false),
            (400, "EntityTooLarge", Kind::Invalid, false),
            (400, "BadDigest", Kind::Corrupt, true),
            (501, "NotImplemented", Kind::Unsupported, false),
            (418, "", Kind::Unexpected, false),
        ] {
            let error = answer(status, code).into_error(Operation::Put);
            assert_eq!((error.kind(), error.is_retryable()), (kind, is_retryable), "{error}");
            let needs_hint = matches!(kind, Kind::Denied | Kind::Full) || code == "NoSuchBucket";
            assert!(!needs_hint || error.hint_text().is_some(), "{error}");
        }
    }

    #[test]
    fn a_wrong_region_is_named() {
        let moved = Answer {
            status: 301,
            code: Some("PermanentRedirect".into()),
            region: Some("eu-central-1".into()),
            ..Answer::default()
        };
        let malformed = Answer {
            status: 400,
            code: Some("AuthorizationHeaderMalformed".into()),
            message: Some("the region 'us-east-1' is wrong; expecting 'eu-central-1'".into()),
            ..Answer::default()
        };
        for answer in [moved, malformed] {
            let error = Failure::Answer(answer).into_error(Operation::Open);
            assert_eq!(error.kind(), Kind::Invalid);
            assert!(error.to_string().contains("eu-central-1"), "{error}");
            assert_eq!(error.hint_text(), Some("set region=eu-central-1 in the URL"));
        }
    }

    #[test]
    fn the_wait_that_is_asked_for_is_passed_on_and_texts_are_bounded() {
        let failure = Failure::Answer(Answer {
            status: 503,
            retry_after: Some(Duration::from_secs(9)),
            message: Some(bounded(&"x\n".repeat(5000))),
            ..Answer::default()
        });
        let error = failure.into_error(Operation::Get);
        assert_eq!(error.wait_asked(), Some(Duration::from_secs(9)));
        assert!(error.to_string().chars().count() < 2 * TEXT_CHARS_MAX);
    }

    #[test]
    fn only_what_may_have_been_done_is_ambiguous() {
        assert!(answer(500, "InternalError").is_ambiguous());
        assert!(answer(200, "InternalError").is_ambiguous());
        assert!(Failure::NoAnswer("reset".into()).is_ambiguous());
        for failure in [answer(403, "AccessDenied"), answer(412, ""), answer(409, "")] {
            assert!(!failure.is_ambiguous(), "{failure}");
        }
        assert!(answer(409, "ConditionalRequestConflict").is_conflict());
        assert!(answer(412, "").is_exists());
    }
}
