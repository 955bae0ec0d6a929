package veriscope.fiji;

import ij.Macro;
import ij.Prefs;
import ij.gui.GenericDialog;
import java.awt.GraphicsEnvironment;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.stream.Stream;

/**
 * What the user chose: in a dialog, which the macro recorder sees, or in the options of a macro, which need no display.
 *
 * <p>A name, with a hint, is the label of the dialog and, in lower case, the key of the macro. Dialogs begin with what was chosen last
 * time; what a macro does not say is left to veriscope.
 */
final class Options {
    private enum Kind { FOLDER, FILE, TEXT, CHOICE, TICK }

    private final String title;
    private final Map<String, Kind> kinds = new LinkedHashMap<>();
    private final Map<String, String> values = new LinkedHashMap<>();
    private final Map<String, String[]> choices = new LinkedHashMap<>();
    private final Map<String, String> hints = new LinkedHashMap<>();

    Options(String title) {
        this.title = title;
    }

    Options folder(String name, String hint) {
        return add(Kind.FOLDER, name, hint);
    }

    Options file(String name, String hint) {
        return add(Kind.FILE, name, hint);
    }

    Options text(String name, String hint) {
        return add(Kind.TEXT, name, hint);
    }

    Options tick(String name) {
        return tick(name, "");
    }

    Options tick(String name, String hint) {
        return add(Kind.TICK, name, hint);
    }

    Options choice(String name, String hint, String... from) {
        choices.put(name, from);
        return add(Kind.CHOICE, name, hint);
    }

    private Options add(Kind kind, String name, String hint) {
        kinds.put(name, kind);
        hints.put(name, hint);
        return this;
    }

    /** What a command does with what was chosen. */
    interface Action {
        void with(Options chosen) throws Run.Problem, Run.Cancelled;
    }

    /** Asks, does it, and says what went wrong. */
    void ask(Action action) {
        try {
            if (chosen()) action.with(this);
        } catch (Run.Problem | Run.Cancelled problem) {
            Run.show(title, problem);
        }
    }

    /** Whether the user, or a macro, chose; false where the dialog was cancelled. */
    private boolean chosen() throws Run.Problem {
        String macro = Macro.getOptions();
        if (macro != null) {
            read(macro);
            return true;
        }
        if (GraphicsEnvironment.isHeadless()) {
            throw new Run.Problem("Without a display " + title + " takes its options from a macro.\n"
                + "Give them: run(\"" + title + "\", \"" + key(kinds.keySet().iterator().next()) + "=...\");");
        }
        return show();
    }

    private void read(String macro) {
        String bare = " " + macro.replaceAll("=\\[[^\\]]*\\]", "=") + " ";
        for (Map.Entry<String, Kind> field : kinds.entrySet()) {
            String key = key(field.getKey());
            String[] from = choices.get(field.getKey());
            String value = field.getValue() == Kind.TICK
                ? String.valueOf(bare.contains(" " + key + " "))
                : Macro.getValue(macro, key, from == null ? "" : from[0]).trim();
            values.put(field.getKey(), value);
        }
    }

    private boolean show() {
        GenericDialog dialog = new GenericDialog(title);
        String[] ticks = kinds.keySet().stream().filter(name -> kinds.get(name) == Kind.TICK).toArray(String[]::new);
        for (Map.Entry<String, Kind> field : kinds.entrySet()) {
            String name = field.getKey();
            String last = Prefs.get("veriscope." + key(name), "");
            String label = label(name);
            switch (field.getValue()) {
                case FOLDER: dialog.addDirectoryField(label, last, 34); break;
                case FILE: dialog.addFileField(label, last, 34); break;
                case TEXT: dialog.addStringField(label, last, 12); break;
                case CHOICE:
                    String[] from = choices.get(name);
                    dialog.addChoice(label, from, Arrays.asList(from).contains(last) ? last : from[0]);
                    break;
                default: continue;
            }
        }
        if (ticks.length > 0) {
            boolean[] chosen = new boolean[ticks.length];
            for (int tick = 0; tick < ticks.length; tick++) chosen[tick] = Prefs.get("veriscope." + key(ticks[tick]), false);
            String[] labels = Stream.of(ticks).map(this::label).toArray(String[]::new);
            dialog.addCheckboxGroup((ticks.length + 2) / 3, 3, labels, chosen);
        }
        dialog.showDialog();
        if (dialog.wasCanceled()) return false;
        for (Map.Entry<String, Kind> field : kinds.entrySet()) {
            if (field.getValue() == Kind.TICK) continue;
            String value = field.getValue() == Kind.CHOICE ? dialog.getNextChoice() : dialog.getNextString().trim();
            if (field.getValue() == Kind.FOLDER) value = value.replaceAll("(?<=.)[/\\\\]+$", ""); // a model's name has none
            values.put(field.getKey(), value);
            Prefs.set("veriscope." + key(field.getKey()), value);
        }
        for (String tick : ticks) {
            boolean chosen = dialog.getNextBoolean();
            values.put(tick, String.valueOf(chosen));
            Prefs.set("veriscope." + key(tick), chosen);
        }
        return true;
    }

    private String label(String name) {
        return hints.get(name).isEmpty() ? name : name + " (" + hints.get(name) + ")";
    }

    /** As the recorder of macros writes it. */
    private static String key(String name) {
        return name.toLowerCase(java.util.Locale.ROOT);
    }

    /** What was chosen; empty where it was left open. */
    String get(String name) {
        return values.getOrDefault(name, "");
    }

    boolean ticked(String name) {
        return Boolean.parseBoolean(get(name));
    }

    /** What was chosen for `names`, as options of the command line. */
    List<String> words(String... names) {
        List<String> words = new ArrayList<>();
        for (String name : names) {
            if (kinds.get(name) == Kind.TICK ? !ticked(name) : get(name).isEmpty()) continue;
            words.add("--" + key(name).replace('_', '-'));
            if (kinds.get(name) != Kind.TICK) words.add(get(name));
        }
        return words;
    }

    /** The same, or a Problem that says what is missing. */
    String needed(String name, String what) throws Run.Problem {
        if (get(name).isEmpty()) throw new Run.Problem(name.replace('_', ' ') + " is missing. Choose " + what + ".");
        return get(name);
    }
}
