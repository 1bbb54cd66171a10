//! Whole worlds in network namespaces: harness, link emulator, scenarios, demo.
