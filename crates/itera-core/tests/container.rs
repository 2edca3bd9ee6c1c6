//! The container of all files: what is written is read back, damage is found.

use itera_core::container::{Container, ContainerError, Dtype, Format, RawTensor};
use safetensors::SafeTensors;

const FORMAT: Format = Format {
    key: "test.format",
    versions: 2..=3,
};

fn content() -> Container<'static> {
    let mut content = Container::default();
    let settings = r#"{"steps":1200,"text":"a \"b\" \n"}"#;
    content
        .metadata
        .insert("test.settings".into(), settings.into());
    let floats: Vec<f32> = (0..60).map(|i| (i as f32 * 0.7).sin()).collect();
    for name in ["weight", "mean", "square"] {
        content
            .tensors
            .insert(name.into(), RawTensor::f32([3, 20], &floats));
    }
    content.tensors.insert(
        "integers".into(),
        RawTensor::i8([5], &[-128, -1, 0, 1, 127]),
    );
    let history = b"any bytes, and many of them".as_slice();
    content
        .tensors
        .insert("history".into(), RawTensor::u8([history.len()], history));
    content
        .tensors
        .insert("nothing".into(), RawTensor::f32([0], &[]));
    content
}

#[test]
fn content_is_read_back_also_by_other_readers() {
    let written = content();
    let bytes = written.to_bytes(&FORMAT).unwrap();
    let read = Container::parse(&bytes, &FORMAT).unwrap();
    assert_eq!(read.metadata, written.metadata);
    assert_eq!(read.tensors, written.tensors);
    assert_eq!(read.to_bytes(&FORMAT).unwrap(), bytes);

    let other = SafeTensors::deserialize(&bytes).unwrap();
    assert_eq!(other.len(), written.tensors.len());
    for (name, tensor) in &written.tensors {
        let view = other.tensor(name).unwrap();
        assert_eq!(view.data(), &*tensor.bytes);
        assert_eq!(view.shape(), tensor.shape);
        assert_eq!(view.dtype().to_string(), tensor.dtype.name());
    }
}

#[test]
fn tensors_are_taken_by_name_and_shape() {
    let bytes = content().to_bytes(&FORMAT).unwrap();
    let file = || Container::parse(&bytes, &FORMAT).unwrap();
    assert_eq!(file().take_f32("weight", &[3, 20]).unwrap().len(), 60);
    assert!(matches!(
        file().take_f32("weight", &[20, 3]),
        Err(ContainerError::Mismatch { .. })
    ));
    assert!(matches!(
        file().take_f32("integers", &[5]),
        Err(ContainerError::Mismatch { .. })
    ));
    assert!(matches!(
        file().take("bias"),
        Err(ContainerError::MissingTensor(_))
    ));
    let mut rest = file();
    for name in ["weight", "mean", "square", "integers", "nothing"] {
        rest.take(name).unwrap();
    }
    assert!(matches!(
        rest.finish(),
        Err(ContainerError::UnexpectedTensor(tensor)) if tensor == "history"
    ));
}

#[test]
fn another_version_or_content_is_refused() {
    let bytes = content().to_bytes(&FORMAT).unwrap();
    let older = Format {
        versions: 1..=2,
        ..FORMAT
    };
    let refused = Container::parse(&bytes, &older).unwrap_err().to_string();
    assert!(
        refused.starts_with("`test.format` is \"3\", expected a version up to 2"),
        "{refused}"
    );
    let other = Format {
        key: "other.format",
        ..FORMAT
    };
    assert!(matches!(
        Container::parse(&bytes, &other),
        Err(ContainerError::MissingMetadata("other.format"))
    ));
    let text = Container::parse(&bytes, &FORMAT).unwrap();
    let number = text.json::<u32>("test.settings").unwrap_err().to_string();
    assert!(
        number.contains("`test.settings` cannot be read"),
        "{number}"
    );
}

#[test]
fn a_tensor_whose_bytes_do_not_fit_its_shape_is_not_written() {
    let mut content = content();
    let short = RawTensor::f32([3, 20], &[1.0]);
    content.tensors.insert("weight".into(), short);
    let refused = content.to_bytes(&FORMAT).unwrap_err().to_string();
    assert!(
        refused.starts_with("the end of tensor \"weight\""),
        "{refused}"
    );
}

/// Takes everything as a program would. No digest covers names and shapes, but each is asked for.
fn taken(bytes: &[u8]) -> Result<Container<'_>, ContainerError> {
    let mut file = Container::parse(bytes, &FORMAT)?;
    let mut taken = Container::default();
    for (name, expected) in content().tensors {
        let tensor = file.take(&name)?;
        if tensor.shape == expected.shape {
            taken.tensors.insert(name, tensor);
        }
    }
    taken.metadata = std::mem::take(&mut file.metadata);
    file.finish()?;
    Ok(taken)
}

/// Every flip of one bit and every cut: refused, or of the same meaning (a blank of the header).
#[test]
fn no_damage_changes_what_a_file_means() {
    let written = content();
    let bytes = written.to_bytes(&FORMAT).unwrap();
    let mut harmless = 0;
    for bit in 0..8 * bytes.len() {
        let mut damaged = bytes.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        if let Ok(read) = taken(&damaged)
            && read.tensors.len() == written.tensors.len()
        {
            assert_eq!(read.metadata, written.metadata, "bit {bit}");
            assert_eq!(read.tensors, written.tensors, "bit {bit}");
            harmless += 1;
        }
    }
    assert!(harmless < 20, "{harmless} flips went unseen");
    for len in 0..bytes.len() {
        assert!(taken(&bytes[..len]).is_err(), "cut to {len} bytes");
    }
}

#[test]
fn dtypes_are_those_of_safetensors() {
    let names = [Dtype::U8, Dtype::I8, Dtype::F16, Dtype::F32].map(Dtype::name);
    assert_eq!(names, ["U8", "I8", "F16", "F32"]);
}
