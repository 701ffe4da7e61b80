//! strongroom target: an SMB share.
