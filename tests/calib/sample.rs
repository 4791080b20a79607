//! The choice of samples. The expected values come from CPython 3.11 (`random.seed`, `randint`, `getrandbits`).

use secateur::calib::{CalibError as E, Corpus, CorpusKind, CpythonRandom, SampleSpec, draw, hash_ids};

use super::{named, tokenizer, words};

/// Documents of so many words, all of different ids; with the BOS each has one token more.
const WORDS: [usize; 8] = [3, 12, 7, 9, 30, 0, 8, 10];

fn documents(words_of: &[usize]) -> Corpus {
    let documents = words_of
        .iter()
        .enumerate()
        .map(|(i, &n)| words(100 * i..100 * i + n))
        .collect();
    Corpus {
        path: "c4.jsonl".into(),
        kind: CorpusKind::Documents,
        documents,
    }
}

fn plain(tokens: usize) -> Corpus {
    // The BOS is the first token.
    Corpus::from_text("wiki.txt", &words(0..tokens - 1))
}

fn spec(samples: usize, length: usize, seed: u64) -> SampleSpec {
    SampleSpec {
        samples,
        length,
        seed,
        bos: None,
    }
}

/// First and last token of every sample.
fn ends(rows: &[Vec<u32>]) -> Vec<(u32, u32)> {
    rows.iter().map(|row| (row[0], row[row.len() - 1])).collect()
}

#[test]
fn the_generator_is_that_of_cpython() {
    // seed, 8 x randint(0, 99), [randint(0, 0)], randint(0, 2**40), getrandbits(1, 32, 33, 64), randint(0, 356316)
    type Row = (u64, [usize; 8], usize, [u64; 4], usize);
    #[rustfmt::skip]
    let expected: [Row; 7] = [
        (0, [49, 97, 53, 5, 33, 65, 62, 51], 1052128689543, [0, 2505606783, 8124620664, 9309829342914403545], 73019),
        (1, [17, 72, 97, 8, 32, 15, 63, 97], 207060179245, [0, 121751464, 8131734758, 7983143289132581517], 318472),
        (42, [81, 14, 3, 94, 35, 31, 28, 17], 70531617177, [0, 402418010, 939042955, 11105285438068160209], 13912),
        (4294967295, [81, 79, 26, 27, 77, 66, 37, 77], 841648681727, [1, 2957395405, 8048196152, 5158766050034018120], 186166),
        (4294967296, [14, 44, 53, 2, 2, 78, 97, 42], 300707833000, [0, 3515254089, 8333898541, 9243367538134589212], 164709),
        (1099511627783, [78, 95, 81, 73, 90, 60, 32, 78], 826853422558, [1, 3091373771, 1559734921, 8290427617906465608], 195215),
        (18446744073709551615, [2, 31, 43, 79, 27, 58, 78, 12], 1033078744380, [1, 3773371626, 4079183629, 6084027864935647821], 253448),
    ];
    for (seed, small, large, bits, last) in expected {
        let mut random = CpythonRandom::new(seed);
        assert_eq!([(); 8].map(|()| random.below(100)), small, "seed {seed}");
        assert_eq!(random.below(1), 0);
        assert_eq!(random.below((1 << 40) + 1), large, "seed {seed}");
        assert_eq!([1, 32, 33, 64].map(|n| random.bits(n)), bits, "seed {seed}");
        assert_eq!(random.below(356_317), last, "seed {seed}");
    }
}

#[test]
fn documents_are_drawn_as_sparsegpt_draws_them() {
    // SparseGPT's loop, run on the same lengths: i = randint(0, 7) until longer; then randint(0, count - length - 1).
    let (corpus, tokenizer) = (documents(&WORDS), tokenizer(800));
    let set = draw(&corpus, &tokenizer, &spec(6, 8, 0)).unwrap();
    assert_eq!(
        ends(&set.ids),
        [(1, 608), (417, 424), (702, 709), (416, 423), (1, 308), (405, 412)]
    );
    assert_eq!(set.rule, "sparsegpt");
    assert_eq!(set.hash, hash_ids(&set.ids));
    let set = draw(&corpus, &tokenizer, &spec(4, 10, 7)).unwrap();
    assert_eq!(ends(&set.ids), [(103, 112), (102, 111), (102, 111), (1, 110)]);
    assert!(set.ids.iter().all(|row| row.len() == 10));
}

#[test]
fn a_document_must_be_longer_than_a_sample() {
    // 9 words and a BOS: 10 tokens. A sample of 9 fits in only one way, one of 10 not at all.
    let (corpus, tokenizer) = (documents(&[2, 9, 0]), tokenizer(300));
    let set = draw(&corpus, &tokenizer, &spec(3, 9, 0)).unwrap();
    assert_eq!(ends(&set.ids), [(1, 109); 3]);
    let error = draw(&corpus, &tokenizer, &spec(3, 10, 0)).unwrap_err();
    let error = named(
        error,
        &["c4.jsonl", "3 documents has 10 tokens", "samples of 10", "at most 9"],
    );
    assert!(matches!(error, E::DocumentsTooShort { .. }));
}

#[test]
fn no_documents_at_all_is_an_error_too() {
    assert!(matches!(
        draw(&documents(&[]), &tokenizer(1), &spec(1, 2, 0)).unwrap_err(),
        E::DocumentsTooShort { .. }
    ));
}

#[test]
fn tokens_of_documents_that_came_up_are_counted_once() {
    let corpus = documents(&[9]);
    assert_eq!(
        draw(&corpus, &tokenizer(10), &spec(5, 4, 0)).unwrap().tokens_available,
        10
    );
}

#[test]
fn plain_text_is_cut_into_windows_of_which_some_are_drawn() {
    // 20 windows of 4 and a tail of 3; which ones: Fisher-Yates with randint(0, 19 - k), sorted.
    let (corpus, tokenizer) = (plain(83), tokenizer(100));
    for (seed, windows) in [(0, [3, 11, 12, 14, 19]), (1, [0, 4, 7, 11, 19])] {
        let set = draw(&corpus, &tokenizer, &spec(5, 4, seed)).unwrap();
        let expected: Vec<Vec<u32>> = windows.iter().map(|w| (4 * w + 1..4 * w + 5).collect()).collect();
        assert_eq!(set.ids, expected, "seed {seed}");
        assert_eq!((set.rule, set.tokens_available), ("disjoint-windows", 83));
    }
}

#[test]
fn all_windows_of_a_plain_text_are_kept_in_order() {
    for seed in [0, 5] {
        let set = draw(&plain(83), &tokenizer(100), &spec(20, 4, seed)).unwrap();
        assert_eq!(set.ids.concat(), (1..81).collect::<Vec<u32>>());
    }
}

#[test]
fn a_plain_text_that_is_too_short_is_refused_with_the_counts() {
    let error = draw(&plain(83), &tokenizer(100), &spec(21, 4, 0)).unwrap_err();
    let error = named(
        error,
        &["wiki.txt", "83 tokens", "20 samples of 4", "21 were asked", "84 tokens"],
    );
    assert!(matches!(error, E::TextTooShort { .. }));
    assert!(matches!(
        draw(&plain(1), &tokenizer(1), &spec(1, 2, 0)).unwrap_err(),
        E::TextTooShort { .. }
    ));
}

#[test]
fn a_spec_that_asks_for_nothing_is_refused() {
    for (samples, length) in [(0, 8), (1, 0), (1, 1)] {
        let error = draw(&plain(83), &tokenizer(100), &spec(samples, length, 0)).unwrap_err();
        let error = named(error, &[&format!("{samples} samples of {length}")]);
        assert!(matches!(error, E::BadSpec { .. }));
    }
}

/// A BOS takes the place of the first token and changes nothing else.
#[test]
fn a_bos_stands_first() {
    let corpus = plain(83);
    let tokenizer = tokenizer(100);
    let without = draw(&corpus, &tokenizer, &spec(5, 4, 0)).unwrap();
    let with = draw(
        &corpus,
        &tokenizer,
        &SampleSpec {
            bos: Some(99),
            ..spec(5, 4, 0)
        },
    )
    .unwrap();
    for (plain, row) in without.ids.iter().zip(&with.ids) {
        assert_eq!((row[0], &row[1..]), (99, &plain[1..]));
    }
    assert_ne!(without.hash, with.hash);
}
