//! strongroom target: any object_store.
