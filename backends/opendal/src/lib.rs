//! strongroom target: any OpenDAL service.
