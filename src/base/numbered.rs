//! Enums whose values are numbers on a wire: each number is written once, beside its name.

/// A value that is one byte on a wire.
pub trait Numbered: Copy {
    /// The value with this number; `None` where no value has it.
    fn from_number(n: u8) -> Option<Self>;

    /// The number.
    fn number(self) -> u8;
}

/// Makes such an enum, with `from_wire` and `to_wire`.
macro_rules! numbered {
    (
        $(#[$meta:meta])*
        $visible:vis enum $Name:ident {
            $($(#[$doc:meta])* $Variant:ident = $number:literal,)+
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        $visible enum $Name {
            $($(#[$doc])* $Variant = $number,)+
        }

        impl $Name {
            /// The value with this number on the wire; `None` where no value has it.
            $visible fn from_wire(n: u8) -> Option<Self> {
                match n {
                    $($number => Some(Self::$Variant),)+
                    _ => None,
                }
            }

            /// The number on the wire.
            $visible fn to_wire(self) -> u8 {
                self as u8
            }
        }

        impl $crate::base::numbered::Numbered for $Name {
            fn from_number(n: u8) -> Option<Self> {
                Self::from_wire(n)
            }

            fn number(self) -> u8 {
                self.to_wire()
            }
        }
    };
}

pub(crate) use numbered;

#[cfg(test)]
mod tests {
    numbered! {
        enum Fruit {
            Fig = 1,
            Pear = 200,
        }
    }

    #[test]
    fn a_number_and_its_value_are_one() {
        assert_eq!([0, 1, 200].map(Fruit::from_wire), [None, Some(Fruit::Fig), Some(Fruit::Pear)]);
        assert_eq!([Fruit::Fig, Fruit::Pear].map(Fruit::to_wire), [1, 200]);
    }
}
