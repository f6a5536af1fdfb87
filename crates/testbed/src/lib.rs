//! Whole-cluster harness for tests.
