use serde_json::json;
use tempfile::TempDir;

use super::*;

fn identity(settings: Value) -> RunIdentity {
    RunIdentity {
        model: "m".into(),
        tokens: "t".into(),
        settings,
    }
}

fn settings() -> RunIdentity {
    identity(json!({"method": "fista", "damping": 0.1, "samples": {"count": 8, "length": 64}}))
}

fn state(layers: usize, streams: usize) -> RunState {
    RunState::new(settings(), layers, json!({"linears": layers}), streams)
}

fn activations(layers: usize) -> Activations {
    let mut out = Activations::new(2, 2, 2, &ActivationOptions::default()).unwrap();
    out.write(0, &[layers as f32; 8]).unwrap();
    out
}

/// The layers done as the files say, checked against the activations they name.
fn layers(output: &Path) -> Option<usize> {
    let state = RunState::load(output).unwrap()?;
    state.check(&settings(), output).unwrap();
    assert_eq!(state.report, json!({"linears": state.layers_done}));
    for loaded in state.load_activations(output, &ActivationOptions::default()).unwrap() {
        assert_eq!(loaded.read(0).unwrap(), [state.layers_done as f32; 8]);
    }
    Some(state.layers_done)
}

fn files(output: &Path) -> Vec<String> {
    let entries = fs::read_dir(output.join(STATE_FOLDER)).unwrap();
    let mut names: Vec<String> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// A crash after `steps` steps, and in the middle of the next one's writing.
#[test]
fn a_crash_at_any_point_leaves_the_state_before_or_after() {
    for before in [None, Some(1), Some(2)] {
        for steps in 0..=Step::ALL.len() {
            for (next, streams) in [(3, 1), (3, 2), (4, 0)] {
                let temp = TempDir::new().unwrap();
                let output = temp.path();
                if let Some(streams) = before {
                    let kept = activations(1);
                    state(1, streams).commit(output, &[&kept; 2][..streams]).unwrap();
                }
                let before = before.map(|_| 1);
                let (after, kept) = (state(next, streams), activations(next));
                for step in &Step::ALL[..steps] {
                    after.step(*step, output, &[&kept; 2][..streams]).unwrap();
                }
                let torn = output.join(STATE_FOLDER);
                if torn.exists() {
                    fs::write(torn.join("activations-3.bin.tmp"), "half").unwrap();
                    fs::write(torn.join("state.json.tmp"), "{\"ver").unwrap();
                }
                let written = Step::ALL[..steps].contains(&Step::State);
                let wanted = if written { Some(next) } else { before };
                assert_eq!(layers(output), wanted, "{before:?}, {steps} steps of {next}");
                // The run goes on from there and cleans up.
                state(next + 1, 1).commit(output, &[&activations(next + 1)]).unwrap();
                assert_eq!(layers(output), Some(next + 1));
                assert_eq!(
                    files(output),
                    [format!("activations-{}.bin", next + 1), "state.json".into()]
                );
            }
        }
    }
}

#[test]
fn a_commit_of_the_same_layer_replaces_it() {
    let temp = TempDir::new().unwrap();
    for _ in 0..2 {
        state(1, 1).commit(temp.path(), &[&activations(1)]).unwrap();
        assert_eq!(layers(temp.path()), Some(1));
    }
    state(2, 0).commit(temp.path(), &[]).unwrap();
    assert_eq!(layers(temp.path()), Some(2));
    assert_eq!(files(temp.path()), ["state.json"]);
}

#[test]
fn other_settings_are_listed() {
    let temp = TempDir::new().unwrap();
    state(1, 0).commit(temp.path(), &[]).unwrap();
    let state = RunState::load(temp.path()).unwrap().unwrap();
    // The order of keys means nothing.
    let reordered = json!({"samples": {"length": 64, "count": 8}, "damping": 0.1, "method": "fista"});
    state.check(&identity(reordered), temp.path()).unwrap();
    let mut other = identity(json!({"method": "fista", "samples": {"count": 8, "length": 32}, "refit": 3}));
    other.model = "n".into();
    let error = state.check(&other, temp.path()).unwrap_err();
    assert!(matches!(error, StateError::Differs { .. }));
    let message = error.to_string();
    for part in [
        "model (",
        "samples.length was 64 and is 32",
        "damping was 0.1 and is null",
        "refit was null and is 3",
        temp.path().to_str().unwrap(),
    ] {
        assert!(message.contains(part), "{part} in {message}");
    }
    for part in ["method", "count", "tokens"] {
        assert!(!message.contains(part), "{part} in {message}");
    }
}

/// Numbers whose decimal text a sloppy parser reads as a neighbour.
#[test]
fn numbers_survive_the_file() {
    let temp = TempDir::new().unwrap();
    for n in 1..500 {
        let then = identity(json!({"damping": 1.0 / f64::from(n), "large": 1e300 / f64::from(n)}));
        RunState::new(then.clone(), n as usize, Value::Null, 0)
            .commit(temp.path(), &[])
            .unwrap();
        let state = RunState::load(temp.path()).unwrap().unwrap();
        state.check(&then, temp.path()).unwrap();
        let mut now = then.clone();
        now.tokens = "u".into();
        let message = state.check(&now, temp.path()).unwrap_err().to_string();
        assert!(!message.contains("damping") && !message.contains("large"), "{message}");
    }
}

#[test]
fn damage_is_named_with_advice() {
    let temp = TempDir::new().unwrap();
    assert!(RunState::load(temp.path()).unwrap().is_none());
    assert!(RunState::load(&temp.path().join("none")).unwrap().is_none());
    state(1, 2).commit(temp.path(), &[&activations(1); 2]).unwrap();
    let file = temp.path().join(".secateur/state.json");
    let whole = fs::read_to_string(&file).unwrap();
    let refused = |text: &str| {
        fs::write(&file, text).unwrap();
        let error = RunState::load(temp.path()).expect_err(text);
        let message = error.to_string();
        assert!(
            message.contains("state.json") && message.contains("delete") && message.contains("`resume`"),
            "{message}"
        );
        error
    };
    for len in 0..whole.len() {
        assert!(matches!(refused(&whole[..len]), StateError::Damaged { .. }));
    }
    let other = whole.replace("\"version\": 1", "\"version\": 9");
    assert!(matches!(refused(&other), StateError::Version { version: 9, .. }));
    let other = whole.replace("\"layers_done\"", "\"layers\"");
    assert!(matches!(refused(&other), StateError::Damaged { .. }));
    // A changed key is noticed when it is held against the settings.
    fs::write(&file, whole.replace("\"key\": \"", "\"key\": \"0")).unwrap();
    let state = RunState::load(temp.path()).unwrap().unwrap();
    let error = state.check(&settings(), temp.path()).unwrap_err();
    assert!(matches!(error, StateError::Damaged { .. }), "{error}");

    fs::write(&file, &whole).unwrap();
    for name in ["activations-1.bin", "activations-1-dense.bin"] {
        let (file, away) = (temp.path().join(".secateur").join(name), temp.path().join("away"));
        fs::rename(&file, &away).unwrap();
        assert!(matches!(refused(&whole), StateError::Damaged { .. }));
        fs::rename(&away, &file).unwrap();
    }
}
