//! Splits a command line into words as a POSIX shell would, without running a shell: quotes and
//! backslashes work, variables and wildcards do not.

/// The words of `text`.
///
/// # Errors
/// An unfinished quote, a backslash at the end, or no words at all.
pub fn split(text: &str) -> Result<Vec<String>, String> {
    let mut splitter = Splitter::default();
    let mut symbols = text.chars();
    while let Some(symbol) = symbols.next() {
        splitter.take(symbol, &mut symbols)?;
    }
    splitter.end_word();
    if splitter.words.is_empty() {
        return Err("the command is empty".to_owned());
    }
    Ok(splitter.words)
}

#[derive(Default)]
struct Splitter {
    words: Vec<String>,
    word: String,
    /// True inside of a word; tells an empty quoted word from none.
    is_open: bool,
}

impl Splitter {
    fn take(&mut self, symbol: char, rest: &mut std::str::Chars<'_>) -> Result<(), String> {
        if symbol.is_ascii_whitespace() {
            self.end_word();
            return Ok(());
        }
        self.is_open = true;
        match symbol {
            '\'' => self.single_quoted(rest),
            '"' => self.double_quoted(rest),
            '\\' => {
                let escaped = rest.next().ok_or("a backslash at the end of the command")?;
                self.word.push(escaped);
                Ok(())
            }
            plain => {
                self.word.push(plain);
                Ok(())
            }
        }
    }

    fn single_quoted(&mut self, rest: &mut std::str::Chars<'_>) -> Result<(), String> {
        for symbol in rest {
            if symbol == '\'' {
                return Ok(());
            }
            self.word.push(symbol);
        }
        Err("a single quote that is not closed".to_owned())
    }

    fn double_quoted(&mut self, rest: &mut std::str::Chars<'_>) -> Result<(), String> {
        while let Some(symbol) = rest.next() {
            match symbol {
                '"' => return Ok(()),
                '\\' => match rest.next() {
                    Some(escaped @ ('"' | '\\' | '$' | '`')) => self.word.push(escaped),
                    Some(other) => self.word.extend(['\\', other]),
                    None => break,
                },
                plain => self.word.push(plain),
            }
        }
        Err("a double quote that is not closed".to_owned())
    }

    fn end_word(&mut self) {
        if std::mem::take(&mut self.is_open) {
            self.words.push(std::mem::take(&mut self.word));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_quotes_and_backslashes() {
        let cases: [(&str, &[&str]); 7] = [
            ("pass show backup", &["pass", "show", "backup"]),
            ("  a\tb\n", &["a", "b"]),
            (r#"cat '/a b' "c d" e\ f"#, &["cat", "/a b", "c d", "e f"]),
            (r#"'' "" x"#, &["", "", "x"]),
            (r#"a'b'"c"d"#, &["abcd"]),
            (r#""\"\\\$\n" '\n'"#, &[r#""\$\n"#, r"\n"]),
            ("echo $HOME *", &["echo", "$HOME", "*"]),
        ];
        for (text, words) in cases {
            assert_eq!(split(text).unwrap(), words, "{text}");
        }
    }

    #[test]
    fn unfinished_commands_are_refused() {
        for text in ["", "   ", "a 'b", "a \"b", "a \"b\\", "a\\"] {
            assert!(split(text).is_err(), "{text:?}");
        }
    }
}
