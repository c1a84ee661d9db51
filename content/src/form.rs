//! The forms that are known, and the class of each.

use nexus_events::content::Class;

/// What something looks like; several forms are one class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Form {
    /// A private key in its armour.
    PrivateKey,
    /// A key of a vendor.
    ApiKey,
    /// A token: JWT, bearer, or of a vendor.
    Token,
    /// A password beside its name, or in an address.
    Password,
    /// The number of a payment card.
    Card,
    /// The number of a bank account.
    Iban,
    /// An e-mail address.
    Email,
    /// A phone number.
    Phone,
    /// A social security number.
    Ssn,
    /// An address of IPv4.
    Ip,
}

impl Form {
    /// Its class.
    pub fn class(self) -> Class {
        match self {
            Self::PrivateKey | Self::ApiKey | Self::Token | Self::Password => Class::Secret,
            Self::Card => Class::Card,
            Self::Iban => Class::Iban,
            Self::Email => Class::Email,
            Self::Phone => Class::Phone,
            Self::Ssn => Class::Ssn,
            Self::Ip => Class::Ip,
        }
    }

    /// In words.
    pub fn words(self) -> &'static str {
        match self {
            Self::PrivateKey => "private key",
            Self::ApiKey => "API key",
            Self::Token => "token",
            Self::Password => "password",
            Self::Card => "card number",
            Self::Iban => "account number",
            Self::Email => "e-mail address",
            Self::Phone => "phone number",
            Self::Ssn => "social security number",
            Self::Ip => "network address",
        }
    }
}

/// A set of classes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Classes(u16);

impl Classes {
    /// Those.
    pub fn of(classes: impl IntoIterator<Item = Class>) -> Self {
        let bits = classes.into_iter().map(|class| 1 << class as u16);
        Self(bits.fold(0, |set, bit| set | bit))
    }

    /// Those and the others.
    #[must_use]
    pub fn or(self, others: Self) -> Self {
        Self(self.0 | others.0)
    }

    /// Whether it is one of them.
    pub fn has(self, class: Class) -> bool {
        self.0 & (1 << class as u16) != 0
    }

    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}
