//! Short names for the values inside a graph.
//!
//! Of an int4 file of 180 kB the names alone would take 3 kB, and 5 kB with layers written out. The int8 file of a
//! model has the names that the code gives.

use std::collections::BTreeMap;

use tract_onnx::pb::GraphProto;

/// Letters and digits of names.
const ALPHABET: &[u8; 62] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";

/// Renames every value but the inputs and outputs of `graph`.
pub(super) fn names(graph: &mut GraphProto) {
    let outer = graph.input.iter().chain(&graph.output);
    let mut names = Names {
        short: outer
            .map(|value| (value.name.clone(), value.name.clone()))
            .collect(),
        given: 0,
    };
    names.rename(graph);
}

/// The names given so far. Values of a body are apart from all others, as the builder made them.
struct Names {
    short: BTreeMap<String, String>,
    given: usize,
}

impl Names {
    fn rename(&mut self, graph: &mut GraphProto) {
        let values = graph.input.iter_mut().chain(&mut graph.output);
        values.for_each(|value| self.replace(&mut value.name));
        graph
            .initializer
            .iter_mut()
            .for_each(|constant| self.replace(&mut constant.name));
        for node in &mut graph.node {
            let values = node.input.iter_mut().chain(&mut node.output);
            values.for_each(|name| self.replace(name));
            let bodies = node.attribute.iter_mut().filter_map(|a| a.g.as_mut());
            for body in bodies {
                // The types inside of a body follow from those outside.
                let values = body.input.iter_mut().chain(&mut body.output);
                values.for_each(|value| value.r#type = None);
                self.rename(body);
            }
        }
    }

    fn replace(&mut self, name: &mut String) {
        let given = &mut self.given;
        let short = self.short.entry(name.clone()).or_insert_with(|| {
            *given += 1;
            short(*given)
        });
        name.clone_from(short);
    }
}

/// The `index`th name: `b`, `c`, .. `aa`-like once all letters are used.
fn short(mut index: usize) -> String {
    let mut name = String::new();
    while index > 0 {
        name.push(char::from(ALPHABET[index % ALPHABET.len()]));
        index /= ALPHABET.len();
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_short_and_unlike() {
        let names: Vec<String> = (1..1000).map(short).collect();
        assert!(names.iter().all(|name| name.len() <= 2));
        let unlike: std::collections::BTreeSet<_> = names.iter().collect();
        assert_eq!(unlike.len(), names.len());
    }
}
