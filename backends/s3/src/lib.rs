//! strongroom target: S3 and what speaks its protocol.
