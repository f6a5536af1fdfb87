//! The controllers: each a pure reconcile and a row in the list.
