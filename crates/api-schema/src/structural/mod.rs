//! Schemas of custom resources, as they stand in a definition (`openAPIV3Schema`), and values that are to fit them.

mod format;
mod value;

pub use value::validate;
