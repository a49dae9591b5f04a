//! The reader of schema files, which the build script uses: what does not fit the grammar is an error with file and line.

#[allow(dead_code, reason = "the build script uses all of it")]
#[path = "../build/parse.rs"]
mod parse;

use std::path::Path;

#[expect(clippy::disallowed_methods, reason = "tests read files")]
fn read(path: &Path) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|error| error.to_string())
}

const GOOD: &str = "\
message Request1 kind=request key=1 valid=0-3 flexible=2+
  Name string v=0+ null=1+ default=null
  Parts []Part v=0+
    Index int32 v=0+ default=-1
    Extra bytes v=2+ tagged=2+ tag=0
";

#[test]
fn a_good_schema_is_read() {
    let messages = parse::text("good", GOOD).expect("good");
    assert_eq!((messages.len(), messages[0].root.fields.len(), messages[0].structs.len()), (1, 2, 1));
    assert_eq!(messages[0].structs[0].fields[1].tag, 0);
}

#[test]
fn every_schema_of_this_crate_is_read() {
    let schemas = Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas");
    let folders = [schemas.clone(), schemas.join("rpc")];
    let mut count = 0;
    for entry in folders.iter().flat_map(|folder| std::fs::read_dir(folder).expect("the folder")) {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|extension| extension == "schema") {
            count += parse::file(&path).unwrap_or_else(|error| panic!("{error}")).len();
        }
    }
    assert_eq!(count, 268);
}

#[test]
fn a_bad_schema_is_an_error_with_file_and_line() {
    for (from, to, wanted) in [
        ("key=1 ", "", "bad:1: `Request1` has no key="),
        ("valid=0-3", "valid=0+", "bad:1: the valid versions of `Request1` have no end"),
        ("kind=request", "kind=question", "bad:1: unknown kind `question`"),
        ("Name string", "Name text", "bad:2: unknown type `text`"),
        ("v=0+ null=1+ default=null", "null=1+", "bad:2: `Name` has no v="),
        ("null=1+", "null=x", "bad:2: `x` is no range of versions"),
        (" default=null", " fallback=null", "bad:2: unknown attribute `fallback=null` of a field"),
        ("Index int32", " Index int32", "bad:4: indented by 5 blanks, not by two a level"),
        ("Index int32", "Index  int32", "bad:4: more than one blank between two tokens"),
        ("    Index", "      Index", "bad:4: deeper than its parent's fields"),
        (
            "Extra bytes v=2+ tagged=2+",
            "Extra bytes v=1+ tagged=1+",
            "bad:5: `Extra` is tagged in a version that is not flexible",
        ),
        (" tag=0", "", "bad:5: `Extra` has tagged= without tag=, or the other way round"),
        ("Extra bytes v=2+", "Index bytes v=2+", "bad:5: a second field `Index`"),
    ] {
        let bad = GOOD.replacen(from, to, 1);
        assert_ne!(bad, GOOD, "{from}");
        match parse::text("bad", &bad) {
            Ok(_) => panic!("{to}: not refused"),
            Err(error) => assert_eq!(error, wanted),
        }
    }
    let missing = "message Data1 kind=data valid=0\n  Part Part v=0+\n";
    assert_eq!(parse::text("bad", missing).expect_err("bad"), "bad:2: no struct `Part` in `Data1`");
}
