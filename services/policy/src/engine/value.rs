//! Rust and JSON to the evaluator's values, bounded, in one step.
//!
//! Going through JSON would double the work of a decision, most of which is making its input.

use std::collections::BTreeMap;
use std::fmt;

use regorus::Value;
use serde::ser::{self, Serialize};
use serde_json::Value as Json;

use super::error::DecisionError;

/// Why a document was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refused {
    Bytes,
    Depth,
    Invalid(String),
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bytes => "too large",
            Self::Depth => "nested too deeply",
            Self::Invalid(reason) => reason,
        })
    }
}

impl std::error::Error for Refused {}

impl ser::Error for Refused {
    fn custom<T: fmt::Display>(reason: T) -> Self {
        Self::Invalid(reason.to_string())
    }
}

/// Converts, stopping at the first excess. The recursion is as deep as `depth` at most. Counted
/// are texts and keys, and 8 bytes for any other value.
pub(crate) fn to_value(
    from: &impl Serialize,
    bytes: usize,
    depth: usize,
) -> Result<Value, Refused> {
    let mut left = bytes;
    from.serialize(Maker {
        left: &mut left,
        depth,
    })
}

/// Makes one value.
struct Maker<'a> {
    left: &'a mut usize,
    depth: usize,
}

impl<'a> Maker<'a> {
    fn leaf(self, value: Value) -> Result<Value, Refused> {
        spend(self.left, 8)?;
        Ok(value)
    }

    fn inside(self) -> Result<Self, Refused> {
        spend(self.left, 8)?;
        Ok(Self {
            left: self.left,
            depth: self.depth.checked_sub(1).ok_or(Refused::Depth)?,
        })
    }

    fn object(self) -> Result<Fields<'a>, Refused> {
        let Self { left, depth } = self.inside()?;
        Ok(Fields {
            left,
            depth,
            map: BTreeMap::new(),
            key: Value::Null,
        })
    }

    fn array(self) -> Result<Items<'a>, Refused> {
        let Self { left, depth } = self.inside()?;
        Ok(Items {
            left,
            depth,
            items: Vec::new(),
        })
    }
}

fn spend(left: &mut usize, bytes: usize) -> Result<(), Refused> {
    *left = left.checked_sub(bytes).ok_or(Refused::Bytes)?;
    Ok(())
}

macro_rules! numbers {
    ($($method:ident $from:ty as $as:ty),* $(,)?) => {
        $(fn $method(self, value: $from) -> Result<Value, Refused> {
            self.leaf(Value::from(<$as>::from(value)))
        })*
    };
}

impl<'a> ser::Serializer for Maker<'a> {
    type Ok = Value;
    type Error = Refused;
    type SerializeSeq = Items<'a>;
    type SerializeTuple = Items<'a>;
    type SerializeTupleStruct = Items<'a>;
    type SerializeTupleVariant = ser::Impossible<Value, Refused>;
    type SerializeMap = Fields<'a>;
    type SerializeStruct = Fields<'a>;
    type SerializeStructVariant = ser::Impossible<Value, Refused>;

    numbers! {
        serialize_i8 i8 as i64, serialize_i16 i16 as i64, serialize_i32 i32 as i64,
        serialize_i64 i64 as i64, serialize_u8 u8 as u64, serialize_u16 u16 as u64,
        serialize_u32 u32 as u64, serialize_u64 u64 as u64, serialize_f32 f32 as f64,
        serialize_f64 f64 as f64,
    }

    fn serialize_bool(self, value: bool) -> Result<Value, Refused> {
        self.leaf(Value::from(value))
    }

    fn serialize_char(self, value: char) -> Result<Value, Refused> {
        self.leaf(Value::from(value.to_string()))
    }

    fn serialize_str(self, value: &str) -> Result<Value, Refused> {
        spend(self.left, value.len())?;
        Ok(Value::from(value))
    }

    fn serialize_bytes(self, _: &[u8]) -> Result<Value, Refused> {
        Err(Refused::Invalid("bytes have no JSON form".to_owned()))
    }

    fn serialize_none(self) -> Result<Value, Refused> {
        self.leaf(Value::Null)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<Value, Refused> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<Value, Refused> {
        self.leaf(Value::Null)
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<Value, Refused> {
        self.leaf(Value::Null)
    }

    fn serialize_unit_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
    ) -> Result<Value, Refused> {
        self.serialize_str(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<Value, Refused> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<Value, Refused> {
        let mut object = self.object()?;
        object.put(variant, value)?;
        Ok(object.finish())
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Items<'a>, Refused> {
        self.array()
    }

    fn serialize_tuple(self, _: usize) -> Result<Items<'a>, Refused> {
        self.array()
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Items<'a>, Refused> {
        self.array()
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleVariant, Refused> {
        Err(Refused::Invalid("no input has such a variant".to_owned()))
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Fields<'a>, Refused> {
        self.object()
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Fields<'a>, Refused> {
        self.object()
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeStructVariant, Refused> {
        Err(Refused::Invalid("no input has such a variant".to_owned()))
    }
}

/// Makes an array.
struct Items<'a> {
    left: &'a mut usize,
    depth: usize,
    items: Vec<Value>,
}

impl Items<'_> {
    fn push<T: Serialize + ?Sized>(&mut self, item: &T) -> Result<(), Refused> {
        self.items.push(item.serialize(Maker {
            left: self.left,
            depth: self.depth,
        })?);
        Ok(())
    }
}

macro_rules! items {
    ($($kind:ident :: $method:ident),*) => {
        $(impl ser::$kind for Items<'_> {
            type Ok = Value;
            type Error = Refused;

            fn $method<T: Serialize + ?Sized>(&mut self, item: &T) -> Result<(), Refused> {
                self.push(item)
            }

            fn end(self) -> Result<Value, Refused> {
                Ok(Value::from(self.items))
            }
        })*
    };
}

items!(
    SerializeSeq::serialize_element,
    SerializeTuple::serialize_element,
    SerializeTupleStruct::serialize_field
);

/// Makes an object.
struct Fields<'a> {
    left: &'a mut usize,
    depth: usize,
    map: BTreeMap<Value, Value>,
    key: Value,
}

impl Fields<'_> {
    fn put<T: Serialize + ?Sized>(&mut self, key: &str, value: &T) -> Result<(), Refused> {
        spend(self.left, key.len())?;
        let value = self.value(value)?;
        self.map.insert(Value::from(key), value);
        Ok(())
    }

    fn value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<Value, Refused> {
        value.serialize(Maker {
            left: self.left,
            depth: self.depth,
        })
    }

    fn finish(self) -> Value {
        Value::from(self.map)
    }
}

impl ser::SerializeStruct for Fields<'_> {
    type Ok = Value;
    type Error = Refused;

    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        key: &'static str,
        value: &T,
    ) -> Result<(), Refused> {
        self.put(key, value)
    }

    fn end(self) -> Result<Value, Refused> {
        Ok(self.finish())
    }
}

impl ser::SerializeMap for Fields<'_> {
    type Ok = Value;
    type Error = Refused;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Refused> {
        self.key = self.value(key)?;
        match self.key {
            Value::String(_) => Ok(()),
            _ => Err(Refused::Invalid("a key is not a text".to_owned())),
        }
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Refused> {
        let key = std::mem::replace(&mut self.key, Value::Null);
        let value = self.value(value)?;
        self.map.insert(key, value);
        Ok(())
    }

    fn end(self) -> Result<Value, Refused> {
        Ok(self.finish())
    }
}

/// A rule's value as JSON; sets become arrays in their order.
pub(crate) fn to_json(value: &Value, rule: &str) -> Result<Json, DecisionError> {
    serde_json::to_value(value).map_err(|error| DecisionError::Malformed {
        rule: rule.to_owned(),
        reason: error.to_string(),
    })
}

/// The name of a value's type, for messages that must not repeat the value.
pub(crate) fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Set(_) => "a set",
        Value::Object(_) => "an object",
        Value::Undefined => "undefined",
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test that panics fails")]

    use super::*;

    #[test]
    fn it_is_what_the_evaluator_makes_of_the_same_json() {
        let text = "{\"a\":[1,-2,2.5,1e30,18446744073709551615,true,null,\"é\"],\"b\":{\"c\":{}}}";
        let json: Json = serde_json::from_str(text).unwrap();
        let made = to_value(&json, 1000, 10).unwrap();
        assert_eq!(made, Value::from_json_str(text).unwrap());
    }

    #[test]
    fn bounds_are_exact() {
        let json = serde_json::json!({"abc": ["de", 1]});
        assert!(to_value(&json, 8 + 3 + 8 + 2 + 8, 2).is_ok());
        assert_eq!(to_value(&json, 28, 2), Err(Refused::Bytes));
        assert_eq!(to_value(&json, 100, 1), Err(Refused::Depth));
    }
}
