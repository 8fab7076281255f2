//! What a configuration says, and what is said about a bad one.

use super::*;

fn problems(text: &str) -> String {
    Config::from_text(text, &Flags::default()).unwrap_err().to_string()
}

#[test]
fn nothing_at_all_is_a_useful_configuration() {
    let config = Config::from_text("", &Flags::default()).unwrap();
    assert_eq!(config.listener.sockets.len(), 1);
    println!("{config:#?}");
}

#[test]
fn unknown() {
    println!(
        "{}",
        problems(
            "[store]\nsize = \"many\"\ncolour = \"blue\"\n\n[[upstream]]\nname = \"cdn\"\nurl = \"not a url\"\n\n[[listen]]\naddress = \"nowhere\"\n"
        )
    );
}
