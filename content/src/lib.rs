//! Finds what should not pass between callers and models: secrets and personal data by their form
//! and check digits, and what an installation's own list names.
//!
//! Nothing here does input or output, and nothing depends on how a text was cut: whether something
//! begins at a byte is decided by the byte before it and the [`WINDOW`] from it on, never by more. A
//! filter that is fed fragment by fragment therefore emits what it emits of the whole, and holds
//! back less than a window. One large regular expression was the alternative: it has to hold back
//! as much as its longest match at all times, where a look at the next byte says that nothing can
//! begin there.
//!
//! Forms are a net with holes. What has no form (a name, a diagnosis) is not found, and what looks
//! like a card number and has its check digit is taken for one.

mod deny;
mod form;
mod look;
mod person;
mod scan;
mod secret;
mod settings;
mod side;
mod stream;
mod value;

pub use deny::{DenyEntry, DenyError, Pattern};
pub use form::{Classes, Form};
pub use scan::{WINDOW, forms, replace};
pub use settings::{FilterConfig, FilterError, Filters, Rules, Setting, TenantFilter};
pub use side::{Checked, Side, Tally, findings};
pub use stream::{MOST_HELD, Stream};
pub use value::Redactor;

#[cfg(test)]
mod tests;
