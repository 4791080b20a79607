//! Rules that neither naga nor a driver enforces: barriers after a return, and the order of things in a file.

use std::collections::HashSet;

use naga::{Block, Function, Handle, Module, Statement};

type Barriers = HashSet<Handle<Function>>;

/// No `return` may come before a barrier of the same function, called functions included: the lanes that left would be
/// waited for. Alternatives of one `if` are not before each other; a loop's body is before itself.
pub(crate) fn barriers(module: &Module) -> Result<(), String> {
    let mut with_barrier = Barriers::new();
    // naga keeps callees before their callers.
    for (handle, function) in module.functions.iter() {
        walk(&function.body, false, &with_barrier).map_err(|()| early_return(function))?;
        // Entered as if after a return, a body fails exactly if it holds a barrier.
        if walk(&function.body, true, &with_barrier).is_err() {
            with_barrier.insert(handle);
        }
    }
    for entry in &module.entry_points {
        walk(&entry.function.body, false, &with_barrier)
            .map_err(|()| format!("`{}` returns before a barrier", entry.name))?;
    }
    Ok(())
}

fn early_return(function: &Function) -> String {
    format!("`{}` returns before a barrier", function.name.as_deref().unwrap_or("?"))
}

/// Whether some lane may have returned by the end of `block`, given whether one may have at its start.
fn walk(block: &Block, mut returned: bool, with_barrier: &Barriers) -> Result<bool, ()> {
    for statement in block.iter() {
        returned = match statement {
            Statement::Return { .. } => true,
            Statement::ControlBarrier(_) | Statement::WorkGroupUniformLoad { .. } if returned => return Err(()),
            Statement::Call { function, .. } if returned && with_barrier.contains(function) => return Err(()),
            Statement::Block(inner) => walk(inner, returned, with_barrier)?,
            Statement::If { accept, reject, .. } => {
                walk(accept, returned, with_barrier)? | walk(reject, returned, with_barrier)?
            }
            Statement::Switch { cases, .. } => {
                cases.iter().try_fold(
                    returned,
                    |any, case| Ok(any | walk(&case.body, returned, with_barrier)?),
                )?
            }
            Statement::Loop { body, continuing, .. } => {
                let round = |start| walk(continuing, walk(body, start, with_barrier)?, with_barrier);
                round(round(returned)?)?
            }
            _ => returned,
        };
    }
    Ok(returned)
}

/// What a line of a kernel opens, in the order a file must have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Purpose,
    Imports,
    Params,
    Bindings,
    Constants,
    Helpers,
    Main,
}

/// Purpose first, then imports, `Params`, bindings, constants and workgroup arrays, helpers, `main`. Each storage binding
/// ends with its shape.
pub(crate) fn file_order(source: &str) -> Result<(), String> {
    if !source.starts_with("// ") {
        return Err("line 1 is not a comment that states the purpose".to_string());
    }
    let mut reached = Part::Purpose;
    for (number, line) in source.lines().enumerate() {
        let number = number + 1;
        let Some(part) = part(line) else { continue };
        if reached > part {
            return Err(format!("line {number}: {part:?} after {reached:?}"));
        }
        let shape = line
            .rsplit_once("; // ")
            .is_some_and(|(_, shape)| !shape.trim().is_empty());
        if line.contains("var<storage") && !shape {
            return Err(format!(
                "line {number}: a storage binding ends with its shape, `// [rows, cols]`"
            ));
        }
        reached = reached.max(part);
    }
    (reached == Part::Main)
        .then_some(())
        .ok_or_else(|| "no `fn main`".to_string())
}

/// The part a line at the margin opens; comments belong anywhere.
fn part(line: &str) -> Option<Part> {
    let starts = |prefixes: &[&str]| prefixes.iter().any(|p| line.starts_with(p));
    Some(match line {
        _ if starts(&["#import "]) => Part::Imports,
        _ if starts(&["struct Params"]) => Part::Params,
        _ if starts(&["@group", "@binding"]) => Part::Bindings,
        _ if starts(&["@compute", "@workgroup_size", "fn main("]) => Part::Main,
        _ if starts(&["fn "]) => Part::Helpers,
        _ if starts(&["const ", "override ", "alias ", "struct ", "var<"]) => Part::Constants,
        _ => return None,
    })
}
