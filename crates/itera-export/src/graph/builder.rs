//! Nodes and constants of a graph that is being written, over the protobuf types of ONNX.

use half::f16;
use tract_onnx::pb::{
    AttributeProto, GraphProto, NodeProto, TensorProto, attribute_proto::AttributeType,
    tensor_proto::DataType,
};

/// The name of a value: an input, a constant, or what a node computes.
pub(crate) type Value = String;

/// An attribute of a node.
pub(crate) enum Attribute {
    Int(i64),
    Float(f32),
    Ints(Vec<i64>),
    Graph(GraphProto),
}

/// Collects nodes in the order of computation.
#[derive(Default)]
pub(crate) struct Builder {
    nodes: Vec<NodeProto>,
    initializers: Vec<TensorProto>,
    /// Written before every label, for example `l0.`; empty where labels are unique by themselves.
    scope: String,
    /// Whether nodes get names, for profilers; they cost as many bytes as the values' names.
    names_nodes: bool,
}

impl Builder {
    /// An empty graph.
    pub(crate) fn new(names_nodes: bool) -> Self {
        Self {
            names_nodes,
            ..Self::default()
        }
    }

    /// Sets what is written before the labels of the following values.
    pub(crate) fn scope(&mut self, scope: impl Into<String>) {
        self.scope = scope.into();
    }

    /// A node with one output, called by the scope and `label`, which is unique within the scope.
    pub(crate) fn op(
        &mut self,
        label: &str,
        op_type: &str,
        inputs: &[&str],
        attributes: Vec<(&str, Attribute)>,
    ) -> Value {
        let [value] = self.ops([label], op_type, inputs, attributes);
        value
    }

    /// A node with several outputs.
    pub(crate) fn ops<const N: usize>(
        &mut self,
        labels: [&str; N],
        op_type: &str,
        inputs: &[&str],
        attributes: Vec<(&str, Attribute)>,
    ) -> [Value; N] {
        let values = labels.map(|label| format!("{}{label}", self.scope));
        self.node(&values, op_type, inputs, attributes);
        values
    }

    /// A node whose outputs are named as they are, whatever the scope.
    pub(crate) fn node(
        &mut self,
        outputs: &[String],
        op_type: &str,
        inputs: &[&str],
        attributes: Vec<(&str, Attribute)>,
    ) {
        self.nodes.push(NodeProto {
            input: inputs.iter().map(|&name| name.to_owned()).collect(),
            output: outputs.to_vec(),
            name: if self.names_nodes {
                outputs[0].clone()
            } else {
                String::new()
            },
            op_type: op_type.to_owned(),
            attribute: attributes.into_iter().map(attribute).collect(),
            ..NodeProto::default()
        });
    }

    /// A constant of floats, called by the scope and `label`.
    pub(crate) fn floats(&mut self, label: &str, dims: &[usize], values: &[f32]) -> Value {
        let bytes = values.iter().flat_map(|x| x.to_le_bytes()).collect();
        self.constant(label, DataType::Float, dims, bytes)
    }

    /// A constant of half floats.
    pub(crate) fn halves(&mut self, label: &str, dims: &[usize], values: &[f16]) -> Value {
        let bytes = values.iter().flat_map(|x| x.to_le_bytes()).collect();
        self.constant(label, DataType::Float16, dims, bytes)
    }

    /// A constant of any type; `bytes` is its raw data, little-endian.
    pub(crate) fn constant(
        &mut self,
        label: &str,
        data_type: DataType,
        dims: &[usize],
        bytes: Vec<u8>,
    ) -> Value {
        let name = format!("{}{label}", self.scope);
        self.initializers.push(TensorProto {
            dims: dims.iter().map(|&dim| dim as i64).collect(),
            data_type: data_type as i32,
            name: name.clone(),
            raw_data: bytes,
            ..TensorProto::default()
        });
        name
    }

    /// A one-dimensional constant of integers, shared by all who ask for the same. Its name is the numbers
    /// in letters and digits: Burn's importer takes `1` and `-1` for one.
    pub(crate) fn ints(&mut self, values: &[i64]) -> Value {
        let words: Vec<String> = values.iter().copied().map(word).collect();
        self.integers(words.join(","), &[values.len()], values)
    }

    /// A constant integer without dimensions, shared as well.
    pub(crate) fn int(&mut self, value: i64) -> Value {
        self.integers(format!("s{}", word(value)), &[], &[value])
    }

    fn integers(&mut self, name: String, dims: &[usize], values: &[i64]) -> Value {
        if self.initializers.iter().any(|known| known.name == name) {
            return name;
        }
        let scope = std::mem::take(&mut self.scope);
        let bytes = values.iter().flat_map(|x| x.to_le_bytes()).collect();
        let name = self.constant(&name, DataType::Int64, dims, bytes);
        self.scope = scope;
        name
    }

    /// Takes the nodes written since `start` out, for the body of a `Scan`; constants stay, since a
    /// body sees those of the graph around it.
    pub(crate) fn take_nodes(&mut self, start: usize) -> Vec<NodeProto> {
        self.nodes.split_off(start)
    }

    /// Nodes so far.
    pub(crate) const fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Nodes and constants.
    pub(crate) fn finish(self) -> (Vec<NodeProto>, Vec<TensorProto>) {
        (self.nodes, self.initializers)
    }
}

/// `m1` is -1.
fn word(value: i64) -> String {
    value.to_string().replace('-', "m")
}

fn attribute((name, value): (&str, Attribute)) -> AttributeProto {
    let mut proto = AttributeProto {
        name: name.to_owned(),
        ..AttributeProto::default()
    };
    let kind = match value {
        Attribute::Int(i) => {
            proto.i = i;
            AttributeType::Int
        }
        Attribute::Float(f) => {
            proto.f = f;
            AttributeType::Float
        }
        Attribute::Ints(ints) => {
            proto.ints = ints;
            AttributeType::Ints
        }
        Attribute::Graph(graph) => {
            proto.g = Some(graph);
            AttributeType::Graph
        }
    };
    proto.r#type = kind as i32;
    proto
}
