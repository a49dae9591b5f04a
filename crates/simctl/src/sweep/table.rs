//! `sweep.csv`: a row a seed, written as it is done; in order of seeds once the sweep has ended.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use harness::report::{csv_line, seconds};
use harness::scenario;

use super::engine::Done;
use super::totals::Word;

/// The table of one scenario.
pub struct Table {
    path: PathBuf,
    #[expect(clippy::disallowed_types, reason = "the command line writes files, so that nobody else has to")]
    file: std::fs::File,
    rows: Vec<(u64, String)>,
}

/// The words that have a column: every fault of this version.
pub fn fault_words() -> impl Iterator<Item = &'static str> {
    scenario::fault_words().filter(|word| scenario::fault_is_here(word) && *word != "heal")
}

impl Table {
    /// An empty one in the scenario's folder.
    #[expect(clippy::disallowed_types, reason = "the command line writes files, so that nobody else has to")]
    pub fn create(out: &Path, scenario: &str) -> io::Result<Self> {
        let folder = out.join(scenario);
        let path = folder.join("sweep.csv");
        let at =
            |error: io::Error| io::Error::new(error.kind(), format!("failed to write {}: {error}", path.display()));
        std::fs::create_dir_all(&folder).map_err(at)?;
        let mut file = std::fs::File::create(&path).map_err(at)?;
        file.write_all(head().as_bytes()).map_err(at)?;
        Ok(Self { path, file, rows: Vec::new() })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Adds a row.
    pub fn add(&mut self, done: &Done) -> io::Result<()> {
        let row = row(done);
        self.file.write_all(row.as_bytes())?;
        self.rows.push((done.job.seed, row));
        Ok(())
    }

    /// Writes it anew, in order.
    #[expect(clippy::disallowed_methods, reason = "the command line writes files, so that nobody else has to")]
    pub fn finish(&mut self) -> io::Result<()> {
        self.rows.sort();
        let rows: String = self.rows.iter().map(|(_, row)| row.as_str()).collect();
        // Beside it first: a sweep that is ended this moment leaves the one or the other.
        let beside = self.path.with_extension("csv.new");
        std::fs::write(&beside, head() + &rows)?;
        std::fs::rename(&beside, &self.path)
    }
}

fn head() -> String {
    let mut head = "seed,verdict,signature,trace_hash,virtual_s,wall_ms,cpu_ms,peak_bytes,events,acked,thr_per_s,\
                    p50_us,p99_us,p999_us,unavailable_s,recover_s,stuck"
        .to_owned();
    for word in fault_words() {
        head.push_str(",faults_");
        head.push_str(word);
    }
    head.push_str(",reached\r\n");
    head
}

/// Empty where there is nothing to tell. A fault that did not begin is empty, one without an effect is 0.
fn row(done: &Done) -> String {
    let line = done.answer.line.as_ref();
    let word = Word::of(done);
    let mut cells = vec![done.job.seed.to_string(), word.name().to_owned(), signature(done)];
    let mut cell = |text: Option<String>| cells.push(text.unwrap_or_default());
    cell(line.map(|line| line.trace.clone()));
    cell(line.map(|line| seconds(line.virtual_ns)));
    cell(Some(format!("{:.0}", done.answer.wall_s * 1e3)));
    cell(line.map(|line| format!("{:.0}", line.cpu_s * 1e3)));
    cell(line.map(|line| line.peak_bytes.to_string()));
    cell(line.map(|line| line.events.to_string()));
    cell(line.map(|line| line.acked.to_string()));
    cell(line.and_then(|line| line.throughput).map(|rate| format!("{rate:.3}")));
    for index in 0..3 {
        cell(line.and_then(|line| line.latency_us).map(|latency| latency[index].to_string()));
    }
    cell(line.and_then(|line| line.unavailable_ns).map(seconds));
    cell(line.and_then(|line| line.recover_ns).map(seconds));
    cell(line.and_then(|line| line.stuck.clone()));
    for word in fault_words() {
        cell(line.and_then(|line| line.faults.get(word)).map(u64::to_string));
    }
    cell(line.map(|line| line.reached.len().to_string()));
    csv_line(&cells)
}

/// What runs that failed in the same way have in common.
pub fn signature(done: &Done) -> String {
    if done.answer.hung {
        return "hung".to_owned();
    }
    if done.parting.is_some() {
        return "nondeterministic".to_owned();
    }
    match &done.answer.line {
        Some(line) => line.signature.clone(),
        None => "no result".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::child::Answer;
    use crate::line::Line;
    use crate::sweep::engine::Job;

    #[test]
    fn a_row_has_a_cell_for_each_column_even_without_a_result() {
        let line = Line { signature: "a, \"b\"".into(), faults: [("kill".to_owned(), 0)].into(), ..Line::default() };
        for line in [None, Some(line)] {
            let answer = Answer { line, code: 1, ..Answer::default() };
            let done = Done { job: Job { file: 0, seed: 7, twice: false }, answer, compared: false, parting: None };
            let row = row(&done).replace("\"a, \"\"b\"\"\"", "ab");
            assert_eq!(row.matches(',').count(), head().matches(',').count(), "{row}");
            assert!(row.starts_with("7,"), "{row}");
        }
    }
}
