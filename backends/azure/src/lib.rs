//! strongroom target: Azure Blob Storage.
