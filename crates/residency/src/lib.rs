//! Data residency: the fence that narrows candidates before anything else sees them.
