//! Test support shared by several modules.

pub mod fixture_model;
