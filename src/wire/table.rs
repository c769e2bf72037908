//! The macro that makes every table of the wire: cells, messages, and the requests and answers of calls.
//!
//! A line of a table is a number, the specification's name, the variant with its fields, and the columns that its family
//! has (whose direction, where legal, which answer). From it come the enum, its kinds, decoder and encoder; the tests hold
//! it against the pages of `spec/` and ask for vectors and an example of each kind. So something new on the wire is a line
//! of its table, an example in `wire::examples`, an arm in the machine that acts on it, its lines in the specification and
//! its vectors.

/// Makes a family. A field is read and written as its type says ([`Field`](crate::wire::field::Field)), or by the codec
/// that is named after `=>`: a module with `read` and `write`.
macro_rules! table {
    (
        $(#[$meta:meta])*
        pub enum $Enum:ident $(<$life:lifetime>)?;
        $(#[$kind_meta:meta])*
        kind $Kind:ident, read from $From:ty, written to $To:ty $(, columns $columns:ident -> $Columns:ty)?;
        $(
            $(#[$doc:meta])*
            $number:literal $NAME:ident: $Variant:ident
                $(($($value:ident: $type:ty $(=> $codec:ident)?),+))?
                $({$($(#[$field_doc:meta])* $field:ident: $field_type:ty $(=> $field_codec:ident)?,)+})?
            $([$($column:tt)*])?;
        )+
    ) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum $Enum $(<$life>)? {
            $($(#[$doc])* $Variant $(($($type),+))? $({$($(#[$field_doc])* $field: $field_type,)+})?,)+
        }

        $crate::base::numbered::numbered! {
            $(#[$kind_meta])*
            pub enum $Kind {
                $($(#[$doc])* $Variant = $number,)+
            }
        }

        impl $Kind {
            /// Every kind, in the table's order.
            #[cfg(feature = "unstable")]
            pub const ALL: &[Self] = &[$(Self::$Variant,)+];

            /// The name in the specification.
            #[cfg(feature = "unstable")]
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$Variant => stringify!($NAME),)+
                }
            }
        }

        table!(@columns $Kind [$($columns, $Columns)?] $({$Variant $([$($column)*])?})+);

        impl $(<$life>)? $Enum $(<$life>)? {
            /// Which line of the table this is.
            pub fn kind(&self) -> $Kind {
                match self {
                    $(Self::$Variant { .. } => $Kind::$Variant,)+
                }
            }

            /// Reads the fields of a kind. What follows them is the caller's to check.
            fn read(kind: $Kind, r: &mut $From) -> Result<Self, $crate::wire::error::Malformed> {
                Ok(match kind {
                    $($Kind::$Variant => Self::$Variant
                        $(($(table!(@read r, $type $(, $codec)?)),+))?
                        $({$($field: table!(@read r, $field_type $(, $field_codec)?),)+})?,)+
                })
            }

            /// Writes the fields.
            #[allow(unused_variables, reason = "a family may have no field")]
            fn write(&self, out: &mut $To) {
                match self {
                    $(Self::$Variant $(($($value),+))? $({$($field,)+})? => {
                        $($(table!(@write out, $value $(, $codec)?);)+)?
                        $($(table!(@write out, $field $(, $field_codec)?);)+)?
                    })+
                }
            }
        }
    };
    (@columns $Kind:ident [] $({$Variant:ident})+) => {};
    (@columns $Kind:ident [$columns:ident, $Columns:ty] $({$Variant:ident [$($column:tt)*]})+) => {
        impl $Kind {
            /// What the table says of the kind.
            pub fn columns(self) -> $Columns {
                match self {
                    $(Self::$Variant => $columns!($($column)*),)+
                }
            }
        }
    };
    (@read $r:ident, $type:ty) => { <$type as $crate::wire::field::Field<'_>>::read($r)? };
    (@read $r:ident, $type:ty, $codec:ident) => { $codec::read($r)? };
    (@write $out:ident, $value:ident) => { $crate::wire::field::Field::write($value, $out) };
    (@write $out:ident, $value:ident, $codec:ident) => { $codec::write($value, $out) };
}

pub(super) use table;
