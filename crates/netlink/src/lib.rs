//! VIPs as local routes, by rtnetlink; and a fake for tests.
