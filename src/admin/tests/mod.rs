//! The interface from outside: a fake weir behind it, raw HTTP before it.

mod endpoints;
mod fake;
mod page;
