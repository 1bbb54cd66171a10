//! Requests and responses of the admin interface.
