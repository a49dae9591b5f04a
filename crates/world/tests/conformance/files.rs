//! Files and their names.

use std::io::ErrorKind;

use bytes::Bytes;
use runtime::{Chunks, DiskOp, OpenMode, inbox};

use crate::arm::{pattern, text};
use crate::both;

both! {
    async fn a_new_disk_is_empty(arm) {
        assert_eq!(arm.disk().list("").await.unwrap(), []);
    }

    async fn what_was_written_is_read(arm) {
        let disk = arm.disk();
        let file = disk.open("a", OpenMode::Create).await.unwrap();
        disk.write_at(&file, 0, text("hello")).await.unwrap();
        assert_eq!(disk.read_at(&file, 0, 5).await.unwrap().to_vec(), b"hello");
        assert_eq!(disk.read_at(&file, 1, 3).await.unwrap().to_vec(), b"ell");
        assert_eq!(disk.read_all("a").await.unwrap().to_vec(), b"hello");
    }

    async fn a_missing_file_is_opened_only_by_those_who_make_it(arm) {
        let disk = arm.disk();
        for mode in [OpenMode::Existing, OpenMode::ReadOnly] {
            assert_eq!(disk.open("a", mode).await.unwrap_err().kind(), ErrorKind::NotFound);
        }
        for (name, mode) in [("b", OpenMode::Create), ("c", OpenMode::CreateNew), ("d", OpenMode::Truncate)] {
            let file = disk.open(name, mode).await.unwrap();
            assert_eq!(disk.len(&file).await.unwrap(), 0);
        }
    }

    async fn a_file_that_is_there_is_opened_as_the_mode_says(arm) {
        let disk = arm.disk();
        let file = disk.open("a", OpenMode::CreateNew).await.unwrap();
        disk.append(&file, text("abc")).await.unwrap();
        drop(file);
        assert_eq!(disk.open("a", OpenMode::CreateNew).await.unwrap_err().kind(), ErrorKind::AlreadyExists);
        for (mode, len) in [
            (OpenMode::Existing, 3),
            (OpenMode::ReadOnly, 3),
            (OpenMode::Create, 3),
            (OpenMode::Truncate, 0),
        ] {
            let file = disk.open("a", mode).await.unwrap();
            assert_eq!(disk.len(&file).await.unwrap(), len, "{mode:?}");
        }
    }

    async fn a_file_opened_to_read_cannot_be_written(arm) {
        let disk = arm.disk();
        disk.open("a", OpenMode::Create).await.unwrap();
        let file = disk.open("a", OpenMode::ReadOnly).await.unwrap();
        assert!(disk.append(&file, text("x")).await.is_err());
        assert!(disk.write_at(&file, 0, text("x")).await.is_err());
        assert_eq!(disk.read_all("a").await.unwrap().len(), 0);
    }

    async fn a_read_ends_at_the_end(arm) {
        let disk = arm.disk();
        let file = disk.open("a", OpenMode::Create).await.unwrap();
        disk.append(&file, text("hello")).await.unwrap();
        assert_eq!(disk.read_at(&file, 3, 100).await.unwrap().to_vec(), b"lo");
        for at in [5, 6, 1 << 40] {
            assert!(disk.read_at(&file, at, 100).await.unwrap().is_empty());
        }
        assert!(disk.read_at(&file, 0, 0).await.unwrap().is_empty());
        assert_eq!(disk.read_at(&file, 0, u64::MAX).await.unwrap().len(), 5);
    }

    async fn a_gap_reads_as_zeros(arm) {
        let disk = arm.disk();
        let file = disk.open("a", OpenMode::Create).await.unwrap();
        disk.write_at(&file, 100_000, text("end")).await.unwrap();
        assert_eq!(disk.len(&file).await.unwrap(), 100_003);
        let read = disk.read_at(&file, 0, 200_000).await.unwrap().to_vec();
        assert!(read[..100_000].iter().all(|byte| *byte == 0));
        assert_eq!(&read[100_000..], b"end");
    }

    async fn a_write_in_the_middle_changes_only_what_it_covers(arm) {
        let disk = arm.disk();
        let file = disk.open("a", OpenMode::Create).await.unwrap();
        disk.append(&file, pattern(0, 20_000).into()).await.unwrap();
        disk.write_at(&file, 4_000, vec![0xaa; 9_000].into()).await.unwrap();
        disk.write_at(&file, 4_500, text("xyz")).await.unwrap();
        let mut expected = pattern(0, 20_000);
        expected[4_000..13_000].fill(0xaa);
        expected[4_500..4_503].copy_from_slice(b"xyz");
        assert!(disk.read_all("a").await.unwrap().to_vec() == expected);
    }

    async fn an_append_says_where_it_went(arm) {
        let disk = arm.disk();
        let file = disk.open("a", OpenMode::Create).await.unwrap();
        assert_eq!(disk.append(&file, text("abc")).await.unwrap(), 0);
        assert_eq!(disk.append(&file, text("de")).await.unwrap(), 3);
        assert_eq!(disk.append(&file, Chunks::new()).await.unwrap(), 5);
        disk.write_at(&file, 9, text("x")).await.unwrap();
        assert_eq!(disk.append(&file, text("y")).await.unwrap(), 10);
        assert_eq!(disk.read_all("a").await.unwrap().to_vec(), b"abcde\0\0\0\0xy");
    }

    async fn many_pieces_are_one_write(arm) {
        let disk = arm.disk();
        let file = disk.open("a", OpenMode::Create).await.unwrap();
        let pieces: Chunks = (0..3_000_u32).map(|at| Bytes::from(at.to_be_bytes().to_vec())).collect();
        disk.append(&file, pieces.clone()).await.unwrap();
        assert!(disk.read_all("a").await.unwrap().to_vec() == pieces.to_vec());
    }

    async fn a_file_is_cut_and_extended_with_zeros(arm) {
        let disk = arm.disk();
        let file = disk.open("a", OpenMode::Create).await.unwrap();
        disk.append(&file, vec![1; 10_000].into()).await.unwrap();
        disk.set_len(&file, 5_001).await.unwrap();
        assert_eq!(disk.len(&file).await.unwrap(), 5_001);
        disk.set_len(&file, 8_000).await.unwrap();
        let read = disk.read_all("a").await.unwrap().to_vec();
        assert_eq!(read.len(), 8_000);
        assert!(read[..5_001].iter().all(|byte| *byte == 1), "what was kept");
        assert!(read[5_001..].iter().all(|byte| *byte == 0), "what was cut never comes back");
        assert_eq!(disk.append(&file, text("x")).await.unwrap(), 8_000);
    }

    async fn two_handles_see_each_others_writes(arm) {
        let disk = arm.disk();
        let one = disk.open("a", OpenMode::Create).await.unwrap();
        let two = disk.open("a", OpenMode::Existing).await.unwrap();
        disk.append(&one, text("one")).await.unwrap();
        assert_eq!(disk.append(&two, text("two")).await.unwrap(), 3);
        assert_eq!(disk.read_at(&one, 0, 10).await.unwrap().to_vec(), b"onetwo");
    }

    async fn operations_on_one_file_complete_in_order(arm) {
        let disk = arm.disk();
        let file = disk.open("a", OpenMode::Create).await.unwrap();
        let (post, mut done) = inbox(1);
        for index in 0..120_u64 {
            let file = file.clone();
            let op = match index % 6 {
                0 | 3 => DiskOp::Append { file, data: pattern(0, 5_000).into() },
                1 => DiskOp::Sync { file },
                2 => DiskOp::ReadAt { file, at: 0, len: 1 << 20 },
                4 => DiskOp::SetLen { file, len: 100 },
                _ => DiskOp::Len { file },
            };
            let post = post.clone();
            disk.submit(op, move |result| post.post((index, result.is_ok())));
        }
        for index in 0..120 {
            assert_eq!(done.recv().await, Some((index, true)));
        }
    }

    async fn operations_on_names_complete_in_order(arm) {
        let disk = arm.disk();
        let (post, mut done) = inbox(1);
        let path = |name: &str| name.to_owned();
        let ops = [
            DiskOp::CreateDir { path: path("t") },
            DiskOp::SyncDir { path: path("") },
            DiskOp::Open { path: path("t/a"), mode: OpenMode::CreateNew },
            DiskOp::Rename { from: path("t/a"), to: path("t/b") },
            DiskOp::SyncDir { path: path("t") },
            DiskOp::Remove { path: path("t/b") },
            DiskOp::RemoveDir { path: path("t") },
            DiskOp::CreateDir { path: path("t") },
        ];
        let count = ops.len();
        for (index, op) in ops.into_iter().enumerate() {
            let post = post.clone();
            disk.submit(op, move |result| post.post((index, result.is_ok())));
        }
        for index in 0..count {
            assert_eq!(done.recv().await, Some((index, true)));
        }
        assert_eq!(disk.list("t").await.unwrap(), []);
    }

    async fn a_rename_replaces(arm) {
        let disk = arm.disk();
        for name in ["old", "new"] {
            let file = disk.open(name, OpenMode::Create).await.unwrap();
            disk.append(&file, text(name)).await.unwrap();
        }
        disk.rename("new", "old").await.unwrap();
        assert_eq!(disk.read_all("old").await.unwrap().to_vec(), b"new");
        assert_eq!(disk.open("new", OpenMode::Existing).await.unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(disk.rename("new", "old").await.unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(disk.read_all("old").await.unwrap().to_vec(), b"new");
    }

    async fn handles_follow_their_files_not_the_names(arm) {
        let disk = arm.disk();
        let old = disk.open("old", OpenMode::Create).await.unwrap();
        disk.append(&old, text("old")).await.unwrap();
        let new = disk.open("new", OpenMode::Create).await.unwrap();
        disk.append(&new, text("new")).await.unwrap();
        disk.rename("new", "old").await.unwrap();
        disk.append(&old, text("er")).await.unwrap();
        disk.append(&new, text("er")).await.unwrap();
        assert_eq!(disk.read_at(&old, 0, 10).await.unwrap().to_vec(), b"older");
        assert_eq!(disk.read_all("old").await.unwrap().to_vec(), b"newer");
    }

    async fn a_removed_file_lives_on_in_its_handles(arm) {
        let disk = arm.disk();
        let file = disk.open("a", OpenMode::Create).await.unwrap();
        disk.append(&file, text("abc")).await.unwrap();
        disk.remove("a").await.unwrap();
        assert_eq!(disk.remove("a").await.unwrap_err().kind(), ErrorKind::NotFound);
        disk.append(&file, text("d")).await.unwrap();
        assert_eq!(disk.read_at(&file, 0, 10).await.unwrap().to_vec(), b"abcd");
        disk.sync(&file).await.unwrap();
        let again = disk.open("a", OpenMode::CreateNew).await.unwrap();
        assert_eq!(disk.len(&again).await.unwrap(), 0);
    }

    async fn directories_are_made_with_their_parents(arm) {
        let disk = arm.disk();
        assert_eq!(disk.open("x/y/a", OpenMode::Create).await.unwrap_err().kind(), ErrorKind::NotFound);
        disk.create_dir("x/y").await.unwrap();
        disk.create_dir("x/y").await.unwrap();
        disk.open("x/y/a", OpenMode::Create).await.unwrap();
        let entries = disk.list("x").await.unwrap();
        assert_eq!(entries.iter().map(|is| (&*is.name, is.is_dir)).collect::<Vec<_>>(), [("y", true)]);
    }

    async fn a_listing_is_sorted_and_says_what_each_name_is(arm) {
        let disk = arm.disk();
        for name in ["b", "a", "c.log"] {
            let file = disk.open(name, OpenMode::Create).await.unwrap();
            disk.append(&file, text(name)).await.unwrap();
        }
        disk.create_dir("dir/inner").await.unwrap();
        disk.open("dir/deep", OpenMode::Create).await.unwrap();
        let listed: Vec<_> =
            disk.list("").await.unwrap().into_iter().map(|is| (is.name, is.is_dir, if is.is_dir { 0 } else { is.len })).collect();
        let expected = [("a", false, 1), ("b", false, 1), ("c.log", false, 5), ("dir", true, 0)];
        assert_eq!(listed, expected.map(|(name, is_dir, len)| (name.to_owned(), is_dir, len)));
        assert_eq!(disk.list("nowhere").await.unwrap_err().kind(), ErrorKind::NotFound);
    }

    async fn a_directory_is_removed_with_all_in_it(arm) {
        let disk = arm.disk();
        disk.create_dir("x/y").await.unwrap();
        let file = disk.open("x/y/a", OpenMode::Create).await.unwrap();
        disk.append(&file, text("abc")).await.unwrap();
        disk.remove_dir("x").await.unwrap();
        assert_eq!(disk.list("").await.unwrap(), []);
        assert_eq!(disk.remove_dir("x").await.unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(disk.read_at(&file, 0, 10).await.unwrap().to_vec(), b"abc");
    }

    async fn a_renamed_directory_takes_its_files_along(arm) {
        let disk = arm.disk();
        disk.create_dir("topic-0").await.unwrap();
        let file = disk.open("topic-0/log", OpenMode::Create).await.unwrap();
        disk.append(&file, text("abc")).await.unwrap();
        disk.rename("topic-0", "topic-0.delete").await.unwrap();
        disk.append(&file, text("d")).await.unwrap();
        assert_eq!(disk.read_all("topic-0.delete/log").await.unwrap().to_vec(), b"abcd");
        assert_eq!(disk.list("topic-0").await.unwrap_err().kind(), ErrorKind::NotFound);
    }

    async fn a_directory_is_no_file(arm) {
        let disk = arm.disk();
        disk.create_dir("dir").await.unwrap();
        assert!(disk.open("dir", OpenMode::Existing).await.is_err());
        assert!(disk.open("dir", OpenMode::Create).await.is_err());
        assert!(disk.remove("dir").await.is_err());
        disk.open("file", OpenMode::Create).await.unwrap();
        assert!(disk.list("file").await.is_err());
        assert!(disk.create_dir("file").await.is_err());
        assert!(disk.open("file/inner", OpenMode::Create).await.is_err());
    }

    async fn files_and_directories_can_be_synced(arm) {
        let disk = arm.disk();
        disk.create_dir("dir").await.unwrap();
        let file = disk.open("dir/a", OpenMode::Create).await.unwrap();
        disk.append(&file, text("abc")).await.unwrap();
        disk.sync(&file).await.unwrap();
        disk.sync_dir("dir").await.unwrap();
        disk.sync_dir("").await.unwrap();
        assert_eq!(disk.sync_dir("nowhere").await.unwrap_err().kind(), ErrorKind::NotFound);
    }

    async fn a_small_file_is_replaced_whole(arm) {
        let disk = arm.disk();
        disk.create_dir("dir").await.unwrap();
        for content in ["first, which is longer", "second"] {
            disk.replace("dir/meta.properties", text(content)).await.unwrap();
            assert_eq!(disk.read_all("dir/meta.properties").await.unwrap().to_vec(), content.as_bytes());
        }
        assert_eq!(disk.list("dir").await.unwrap().len(), 1);
    }

    async fn no_path_leaves_its_disk(arm) {
        let disk = arm.disk();
        for path in ["../out", "a/../../out"] {
            assert!(disk.open(path, OpenMode::Create).await.is_err(), "{path}");
        }
    }

    async fn two_disks_are_two(arm) {
        let (one, two) = (arm.a.disk("one"), arm.a.disk("two"));
        one.open("a", OpenMode::Create).await.unwrap();
        assert_eq!(two.list("").await.unwrap(), []);
        assert_eq!(arm.a.disk("one").list("").await.unwrap().len(), 1);
    }

    async fn a_big_file_is_read_in_parts(arm) {
        let disk = arm.disk();
        let file = disk.open("a", OpenMode::Create).await.unwrap();
        let total = 5_000_000;
        for at in (0..total).step_by(500_000) {
            disk.append(&file, pattern(at, 500_000).into()).await.unwrap();
        }
        for (at, len) in [(0, 1), (4_095, 2), (123_456, 777_777), (499_999, 1_000_002), (4_999_999, 5)] {
            let expected = pattern(at, len.min(total - at));
            assert!(disk.read_at(&file, at as u64, len as u64).await.unwrap().to_vec() == expected, "{len} at {at}");
        }
    }
}
