//! The tables beside the schemas: which versions of which API, and the error codes.

use std::fmt::Write as _;
use std::path::Path;

/// A CSV file with a header line and without quoted cells.
pub struct Csv {
    name: String,
    header: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Csv {
    pub fn read(path: &Path) -> Result<Self, String> {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let text = crate::read(path)?;
        let mut lines = text.lines().map(|line| line.split(',').map(str::to_owned).collect::<Vec<_>>());
        let header = lines.next().ok_or_else(|| format!("{name}: empty"))?;
        let rows: Vec<Vec<String>> = lines.collect();
        match rows.iter().position(|row| row.len() != header.len()) {
            Some(index) => Err(format!("{name}:{}: not as many cells as the header has", index + 2)),
            None => Ok(Self { name, header, rows }),
        }
    }

    fn cell<'a>(&'a self, row: usize, column: &str) -> Result<&'a str, String> {
        let at = self.header.iter().position(|known| known == column);
        at.map(|at| self.rows[row][at].as_str()).ok_or_else(|| format!("{}:1: no column `{column}`", self.name))
    }

    fn number(&self, row: usize, column: &str) -> Result<i16, String> {
        let text = self.cell(row, column)?;
        text.parse().map_err(|_| format!("{}:{}: `{text}` in column `{column}` is no number", self.name, row + 2))
    }
}

/// `SCREAMING_CASE` to `CamelCase`.
fn camel(name: &str) -> String {
    name.split('_').map(|word| word[..1].to_owned() + &word[1..].to_lowercase()).collect()
}

fn range(text: &str) -> Option<(i16, i16)> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    Some((first.parse().ok()?, last.parse().ok()?))
}

/// `enum ApiKey` and one `ApiFacts` a key. Removed keys are left out.
pub fn api_keys(table: &Csv) -> Result<String, String> {
    let mut rows = Vec::new();
    for row in 0..table.rows.len() {
        if table.cell(row, "removed")? == "false" {
            rows.push(row);
        }
    }
    let mut variants = String::new();
    let mut facts = String::new();
    let mut from = String::new();
    let mut all = String::new();
    for row in rows {
        let key = table.number(row, "key")?;
        let name = table.cell(row, "schema_name")?;
        let (oldest, latest) = (table.number(row, "oldest")?, table.number(row, "latest")?);
        // An API whose only version is unstable has no stable one: an empty range.
        let stable = match table.cell(row, "latest_stable")? {
            "" => oldest - 1,
            _ => table.number(row, "latest_stable")?,
        };
        let flexible = |column: &str| match table.cell(row, column)? {
            "" | "none" => Ok(i16::MAX),
            _ => table.number(row, column),
        };
        let advertised =
            |column: &str| -> Result<String, String> { Ok(format!("{:?}", range(table.cell(row, column)?))) };
        let flag = |column: &str| table.cell(row, column);
        let _ = writeln!(variants, "    /// `{name}`, versions {oldest}-{latest}.\n    {name} = {key},");
        let _ = writeln!(from, "            {key} => Self::{name},");
        let _ = write!(all, "Self::{name}, ");
        let _ = writeln!(
            facts,
            "            Self::{name} => &ApiFacts {{ name: {name:?}, oldest: {oldest}, stable: {stable}, latest: {latest}, \
             request_flexible: {}, response_flexible: {}, broker: {}, controller: {}, advertised_broker: {}, \
             advertised_controller: {}, cluster_action: {}, forwardable: {} }},",
            flexible("request_flexible_from")?,
            flexible("response_flexible_from")?,
            flag("broker_listener")?,
            flag("controller_listener")?,
            advertised("advertised_broker")?,
            advertised("advertised_controller")?,
            flag("cluster_action")?,
            flag("forwardable")?,
        );
    }
    Ok(format!(
        "/// What a request asks for.\n#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]\n#[repr(i16)]\npub enum ApiKey {{\n{variants}}}\n\n\
         impl ApiKey {{\n    /// Every key, by number.\n    pub const ALL: &'static [Self] = &[{all}];\n\n\
         /// The key of a number; `None` where Kafka 4.3.1 knows none.\n    pub const fn from_code(code: i16) -> Option<Self> {{\n        Some(match code {{\n{from}            _ => return None,\n        }})\n    }}\n\n\
         const fn facts(self) -> &'static ApiFacts {{\n        match self {{\n{facts}        }}\n    }}\n}}\n"
    ))
}

/// `enum ErrorCode`.
pub fn error_codes(table: &Csv) -> Result<String, String> {
    let (mut variants, mut from, mut facts, mut all) = (String::new(), String::new(), String::new(), String::new());
    for row in 0..table.rows.len() {
        let code = table.number(row, "code")?;
        let name = table.cell(row, "name")?;
        let variant = camel(name);
        let _ = writeln!(variants, "    /// `{name}`.\n    {variant} = {code},");
        let _ = writeln!(from, "            {code} => Self::{variant},");
        let _ = write!(all, "Self::{variant}, ");
        let _ = writeln!(
            facts,
            "            Self::{variant} => ({name:?}, {}, {}, {}),",
            table.cell(row, "retriable")?,
            table.cell(row, "invalid_metadata")?,
            table.cell(row, "refresh_retriable")?,
        );
    }
    Ok(format!(
        "/// What went wrong, by Kafka's numbers. `i16` on the wire: [`ErrorCode::from_code`], [`ErrorCode::code`].\n\
         #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]\n#[repr(i16)]\npub enum ErrorCode {{\n{variants}}}\n\n\
         impl ErrorCode {{\n    /// Every code of Kafka 4.3.1.\n    pub const ALL: &'static [Self] = &[{all}];\n\n\
         /// The code of a number; one that Kafka 4.3.1 does not know is `UnknownServerError`, as its clients do.\n    pub const fn from_code(code: i16) -> Self {{\n        match code {{\n{from}            _ => Self::UnknownServerError,\n        }}\n    }}\n\n\
         const fn facts(self) -> (&'static str, bool, bool, bool) {{\n        match self {{\n{facts}        }}\n    }}\n}}\n"
    ))
}
