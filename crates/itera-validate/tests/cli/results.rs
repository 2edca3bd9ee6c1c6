//! `merge` and `compare` on results.

use itera_testing::{STORIES, bytes, small_checkpoint, snapshot};

use crate::fixture::{CliTest, scale};

#[test]
fn merge_refuses_anything_but_every_shard_once() {
    let test = CliTest::new();
    let score = |arguments: &str, output: &str| {
        test.record(
            &format!("--checkpoint small --dataset stories.txt {arguments}"),
            output,
        )
    };
    score("--shard 1/3", "1.json");
    score("--shard 2/3", "2.json");
    score("--shard 1/2", "half.json");
    score("", "whole.json");
    score("--shard 3/3 --window 8", "window.json");
    snapshot!(test, "merge 1.json 2.json --output out.json", @r"
    success: false
    exit_code: 2
    ----- stdout -----

    ----- stderr -----
    error: shard 3/3 of small on stories.txt is missing; score it with `--shard 3/3`
    ");
    snapshot!(test, "merge 1.json 1.json 2.json --output out.json", @r"
    success: false
    exit_code: 2
    ----- stdout -----

    ----- stderr -----
    error: `1.json` has shard 1/3 of small on stories.txt, which is already there; give each shard once
    ");
    snapshot!(test, "merge 1.json half.json --output out.json", @r"
    success: false
    exit_code: 2
    ----- stdout -----

    ----- stderr -----
    error: `half.json` has a shard of 2 of small on stories.txt, the parts before it of 3; give the shards of one division
    ");
    snapshot!(test, "merge whole.json --output out.json", @r"
    success: false
    exit_code: 2
    ----- stdout -----

    ----- stderr -----
    error: `whole.json` has small on stories.txt without shards; give results written with `--shard`
    ");
    snapshot!(test, "merge 1.json 2.json window.json --output out.json", @r"
    success: false
    exit_code: 2
    ----- stdout -----

    ----- stderr -----
    error: `window.json` follows the protocol `window, tokens 8, stride 8`, the parts before it `document`; score all shards with the same options
    ");
    snapshot!(test, "merge stories.txt --output out.json", @r"
    success: false
    exit_code: 2
    ----- stdout -----

    ----- stderr -----
    error: `stories.txt` is not what `itera-validate --output` writes: not a record of this form: expected value at line 1 column 1
    ");
    snapshot!(test, "merge none.json --output out.json", @r"
    success: false
    exit_code: 2
    ----- stdout -----

    ----- stderr -----
    error: cannot read `none.json`: No such file or directory (os error 2)
    ");
    assert!(!test.path("out.json").exists());
}

#[test]
fn compare_says_which_is_better() {
    let test = CliTest::new();
    let mut better = small_checkpoint(bytes(), 1);
    // Small logits are nearly a uniform guess, which beats a random one.
    scale(&mut better, "embedding.weight", 0.001);
    test.add_model("calm", &better);
    let many = [STORIES; 3].join("<|endoftext|>\n");
    test.write("many.txt", many);
    for model in ["small", "calm"] {
        let output = format!("{model}.json");
        test.record(&format!("--checkpoint {model} --dataset many.txt"), &output);
        let output = format!("{model}-few.json");
        test.record(
            &format!("--checkpoint {model} --dataset stories.txt"),
            &output,
        );
    }
    snapshot!(test, "compare small.json calm.json", @r"
    success: true
    exit_code: 0
    ----- stdout -----
    text      A      precision  bits/byte  B     precision  bits/byte     B - A  95 % interval              p  verdict
    many.txt  small  fp32          #.####  calm  fp32          #.####  -#.#####  [-#.#####, -#.#####]  #.####  B is better

    ----- stderr -----
    ");
    snapshot!(test, "compare calm.json small.json", @r"
    success: true
    exit_code: 0
    ----- stdout -----
    text      A     precision  bits/byte  B      precision  bits/byte     B - A  95 % interval            p  verdict
    many.txt  calm  fp32          #.####  small  fp32          #.####  +#.#####  [#.#####, #.#####]  #.####  A is better

    ----- stderr -----
    ");
    snapshot!(test, "compare small-few.json calm-few.json", @r"
    success: true
    exit_code: 0
    ----- stdout -----
    text         A      precision  bits/byte  B     precision  bits/byte     B - A  95 % interval    p  verdict
    stories.txt  small  fp32          #.####  calm  fp32          #.####  -#.#####  n/a            n/a  too few documents

    ----- stderr -----
    ");
    snapshot!(test, "compare small.json small.json", @r"
    success: true
    exit_code: 0
    ----- stdout -----
    text      A      precision  bits/byte  B      precision  bits/byte     B - A  95 % interval            p  verdict
    many.txt  small  fp32          #.####  small  fp32          #.####  +#.#####  [#.#####, #.#####]  #.####  no difference shown

    ----- stderr -----
    ");
}

#[test]
fn compare_refuses_what_does_not_compare() {
    let test = CliTest::new();
    test.write("other.txt", "Another text.\n<|endoftext|>\nThe end.\n");
    let score = |dataset: &str, arguments: &str, output: &str| {
        test.record(
            &format!("--checkpoint small --dataset {dataset} {arguments}"),
            output,
        )
    };
    score("stories.txt", "", "a.json");
    score("stories.txt", "--window 32", "window.json");
    score("other.txt", "", "other.json");
    score("stories.txt", "--shard 1/2", "shard.json");
    score("sample", "", "samples.json");
    snapshot!(test, "compare a.json window.json", @r"
    success: false
    exit_code: 2
    ----- stdout -----

    ----- stderr -----
    error: cannot compare `a.json` with `window.json`: the protocols differ, `document` and `window, tokens 32, stride 32`; score both with the same options
    ");
    snapshot!(test, "compare a.json other.json", @r"
    success: false
    exit_code: 2
    ----- stdout -----

    ----- stderr -----
    error: cannot compare `a.json` with `other.json`: the sha256 of the text differs, `a5ce0529cb04436d1b9101d1a28cffd7f2903eb82d4e84f0842b004a3b72b8be` and `49637f0e0e1a011a9687d665cdcbe1f572807e382426d1573ca30e42a71b5522`; score both on one text
    ");
    snapshot!(test, "compare a.json shard.json", @r"
    success: false
    exit_code: 2
    ----- stdout -----

    ----- stderr -----
    error: cannot compare `a.json` with `shard.json`: they have scored different documents of stories.txt, 5 (257 bytes) and 3 (211 bytes); score both with the same limits and shards, and texts without a known digest under the same name
    ");
    snapshot!(test, "compare a.json samples.json", @r"
    success: false
    exit_code: 2
    ----- stdout -----

    ----- stderr -----
    error: cannot compare `a.json` with `samples.json`: they have 1 and 2 rows; score both on the same texts
    ");
    snapshot!(test, "compare a.json stories.txt", @r"
    success: false
    exit_code: 2
    ----- stdout -----

    ----- stderr -----
    error: `stories.txt` is not what `itera-validate --output` writes: not a record of this form: expected value at line 1 column 1
    ");
}

#[test]
fn rows_of_several_models_are_paired_by_text_and_name() {
    let test = CliTest::new();
    test.add_model("second", &small_checkpoint(bytes(), 2));
    let arguments = "--checkpoint small --checkpoint second --dataset sample --precision all";
    test.record(arguments, "a.json");
    let run = test.command("compare a.json a.json").output().unwrap();
    let table = String::from_utf8(run.stdout).unwrap();
    // Two texts, two models, three precisions; each row with itself.
    assert_eq!(table.lines().count(), 1 + 12, "{table}");
    assert_eq!(table.matches("+0.00000 ").count(), 12, "{table}");
    assert!(!table.contains("better"), "{table}");
}

#[test]
fn another_model_is_compared_at_each_precision() {
    let test = CliTest::new();
    test.add_model("second", &small_checkpoint(bytes(), 2));
    for model in ["small", "second"] {
        let arguments = format!("--checkpoint {model} --dataset stories.txt --precision all");
        test.record(&arguments, &format!("{model}.json"));
    }
    snapshot!(test, "compare small.json second.json", @r"
    success: true
    exit_code: 0
    ----- stdout -----
    text         A      precision        bits/byte  B       precision        bits/byte     B - A  95 % interval  p (Holm)  verdict
    stories.txt  small  fp32                #.####  second  fp32                #.####  -#.#####  n/a                 n/a  too few documents
    stories.txt  small  int8                #.####  second  int8                #.####  +#.#####  n/a                 n/a  too few documents
    stories.txt  small  mixed, 6.4 bits     #.####  second  mixed, 6.4 bits     #.####  +#.#####  n/a                 n/a  too few documents

    ----- stderr -----
    ");
}

#[test]
fn rows_at_another_precision_are_paired_where_there_is_no_choice() {
    let test = CliTest::new();
    let score = |precision: &str, output: &str| {
        test.record(
            &format!("--checkpoint small --dataset stories.txt --precision {precision}"),
            output,
        )
    };
    score("fp32", "fp32.json");
    score("int8", "int8.json");
    snapshot!(test, "compare fp32.json int8.json", @r"
    success: true
    exit_code: 0
    ----- stdout -----
    text         A      precision  bits/byte  B      precision  bits/byte     B - A  95 % interval    p  verdict
    stories.txt  small  fp32          #.####  small  int8          #.####  -#.#####  n/a            n/a  too few documents

    ----- stderr -----
    ");
}

#[test]
fn merge_refuses_parts_of_several_kernels() {
    let test = CliTest::new();
    let score = |arguments: &str, output: &str| {
        test.record(
            &format!("--checkpoint small --dataset stories.txt {arguments}"),
            output,
        )
    };
    score("--shard 1/2 --kernel scalar", "1.json");
    let other = score("--shard 2/2", "2.json");
    // The one kernel that every machine has is not the best of most.
    if other.rows[0].kernel.as_deref() != Some("scalar") {
        snapshot!(test, "merge 1.json 2.json --output out.json", @r"
        success: false
        exit_code: 2
        ----- stdout -----

        ----- stderr -----
        error: `2.json` was scored by another kernel than the other parts, whose last bits differ; score all shards with the same `--kernel`, or at int8 or int4
        ");
    }
}

#[test]
fn integers_are_scored_alike_by_every_kernel_so_their_parts_can_be_merged() {
    let test = CliTest::new();
    let score = |arguments: &str, output: &str| {
        let model = "--checkpoint small --precision int8 --dataset stories.txt";
        test.record(&format!("{model} {arguments}"), output)
    };
    score("--shard 1/2 --kernel scalar", "1.json");
    score("--shard 2/2", "2.json");
    let whole = score("", "whole.json");
    let joined = test.record("merge 1.json 2.json", "out.json");
    assert_eq!(joined.rows[0].per_document, whole.rows[0].per_document);
    let kernel = joined.rows[0].kernel.as_deref();
    assert!(
        kernel.is_some_and(|kernel| kernel.contains("scalar")),
        "{kernel:?}"
    );
}

#[test]
fn a_score_that_is_worse_by_more_than_the_limit_is_a_failed_check() {
    let test = CliTest::new();
    let mut better = small_checkpoint(bytes(), 1);
    scale(&mut better, "embedding.weight", 0.001);
    test.add_model("calm", &better);
    for model in ["small", "calm"] {
        let arguments = format!("--checkpoint {model} --dataset stories.txt --no-baselines");
        test.record(&arguments, &format!("{model}.json"));
    }
    let status = |arguments: &str| test.command(arguments).output().unwrap().status.code();
    snapshot!(test, "compare calm.json small.json --fail-if-worse 2.5", @r"
    success: false
    exit_code: 1
    ----- stdout -----
    text         A     precision  bits/byte  B      precision  bits/byte     B - A  95 % interval    p  verdict
    stories.txt  calm  fp32          #.####  small  fp32          #.####  +#.#####  n/a            n/a  too few documents

    ----- stderr -----
    warning: small fp32 on stories.txt needs 12.80 % more bits than calm fp32, above the limit of 2.5 %
    ");
    snapshot!(test, "compare small.json calm.json --fail-if-worse 2.5", @r"
    success: true
    exit_code: 0
    ----- stdout -----
    text         A      precision  bits/byte  B     precision  bits/byte     B - A  95 % interval    p  verdict
    stories.txt  small  fp32          #.####  calm  fp32          #.####  -#.#####  n/a            n/a  too few documents

    ----- stderr -----
    none of 1 rows is worse by more than 2.5 %
    ");
    assert_eq!(
        status("compare calm.json calm.json --fail-if-worse 0"),
        Some(0)
    );
    assert_eq!(
        status("compare calm.json small.json --fail-if-worse 1000"),
        Some(0)
    );
    assert_eq!(
        status("compare calm.json small.json --fail-if-worse -1"),
        Some(2)
    );
    assert_eq!(
        status("compare calm.json small.json --fail-if-worse NaN"),
        Some(2)
    );
    // A row that is gone cannot hide: it is no comparison.
    let arguments = "--checkpoint small --checkpoint calm --dataset stories.txt --no-baselines";
    test.record(arguments, "both.json");
    assert_eq!(
        status("compare both.json calm.json --fail-if-worse 5"),
        Some(2)
    );
}

#[test]
fn rows_are_paired_by_the_text_and_not_by_its_path() {
    let test = CliTest::new();
    test.write("mounted/copy.txt", STORIES);
    let score = |dataset: &str, output: &str| {
        let arguments = format!("--checkpoint small --dataset {dataset} --precision all");
        test.record(&arguments, output)
    };
    score("stories.txt", "a.json");
    score("mounted/copy.txt", "b.json");
    let run = test.command("compare a.json b.json").output().unwrap();
    let table = String::from_utf8(run.stdout).unwrap();
    assert_eq!(table.matches("+0.00000 ").count(), 3, "{table}");
}

#[test]
fn shards_of_one_text_join_wherever_it_lay_and_keep_where_they_are_from() {
    let test = CliTest::new();
    test.write("mounted/copy.txt", STORIES);
    for (shard, dataset) in [(1, "stories.txt"), (2, "mounted/copy.txt")] {
        let arguments = format!("--checkpoint small --dataset {dataset} --shard {shard}/2");
        test.record(&arguments, &format!("{shard}.json"));
    }
    let part = test.record(
        "--checkpoint small --dataset stories.txt --shard 1/2",
        "again.json",
    );
    let merged = test.record("merge 1.json 2.json", "merged.json");
    let parts = &merged.rows[0].parts;
    let shards: Vec<String> = parts.iter().map(|part| part.shard.to_string()).collect();
    assert_eq!(shards, ["1/2", "2/2"]);
    for source in parts {
        assert_eq!(source.host, part.envelope.host);
        assert_eq!(source.tool, part.envelope.tool);
        assert!(source.created_at.ends_with('Z'));
    }
    assert_eq!(merged.rows[0].documents, 5);
}
