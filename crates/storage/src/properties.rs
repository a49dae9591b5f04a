//! `meta.properties`: whose log directory this is.

use protocol::{NodeId, Uuid};

/// The content of `meta.properties`, version 1.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MetaProperties {
    /// `cluster.id`: 22 characters of url-safe base64 in Kafka; any text is kept.
    pub cluster_id: String,
    /// `node.id`.
    pub node_id: NodeId,
    /// `directory.id`.
    pub directory_id: Option<Uuid>,
}

impl MetaProperties {
    /// Reads Java properties: comments, keys in any order, keys that are not known.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (mut version, mut cluster_id, mut node_id, mut directory_id) = (None, None, None, None);
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with(['#', '!'])) {
            let (key, value) = line.split_once('=').ok_or_else(|| format!("`{line}` is no property"))?;
            let (key, value) = (key.trim_end(), value.trim_start().replace('\\', ""));
            match key {
                "version" => version = Some(value),
                "cluster.id" => cluster_id = Some(value),
                "node.id" => node_id = Some(value.parse().map_err(|_| format!("node.id is `{value}`"))?),
                "directory.id" => {
                    directory_id = Some(Uuid::parse(&value).ok_or_else(|| format!("directory.id is `{value}`"))?);
                }
                _ => {}
            }
        }
        match version.as_deref() {
            Some("1") => {}
            Some(other) => return Err(format!("version is `{other}`, not `1`")),
            None => return Err("version is missing".to_owned()),
        }
        let cluster_id = cluster_id.ok_or("cluster.id is missing")?;
        Ok(Self { cluster_id, node_id: NodeId(node_id.ok_or("node.id is missing")?), directory_id })
    }

    /// The text form. Kafka puts the date into the comment; there is no clock here.
    pub fn print(&self) -> String {
        let directory = self.directory_id.map_or(String::new(), |id| format!("directory.id={id}\n"));
        format!("#\nnode.id={}\n{directory}version=1\ncluster.id={}\n", self.node_id, self.cluster_id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kafkas_own_file_reads_and_prints_back() {
        let text = "#\n#Mon Nov 23 03:48:58 UTC 2026\nnode.id=1\ndirectory.id=g5t45Z7bvLLZ5Tn5cmY4Ww\nversion=1\ncluster.id=CyyNPQJOccbdylxLK58FcA\n";
        let read = MetaProperties::parse(text).unwrap();
        assert_eq!((read.node_id, read.cluster_id.as_str()), (NodeId(1), "CyyNPQJOccbdylxLK58FcA"));
        assert_eq!(MetaProperties::parse(&read.print()), Ok(read));
        assert_eq!(MetaProperties::parse("version=1\ncluster.id=x").unwrap_err(), "node.id is missing");
        assert_eq!(MetaProperties::parse("version=2").unwrap_err(), "version is `2`, not `1`");
    }
}
