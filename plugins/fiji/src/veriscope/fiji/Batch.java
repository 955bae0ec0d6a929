package veriscope.fiji;

import ij.IJ;
import ij.plugin.PlugIn;

/**
 * For macros of plain ImageJ without a display, where its own run(...) fails; Fiji needs it not:
 * call("veriscope.fiji.Batch.run", "Veriscope Restore", "input=new.tif model=model output=restored");
 */
public final class Batch {
    private Batch() {}

    /** Runs a command of the menu Plugins > Veriscope with the options of a macro; answers what went wrong, or "". */
    public static String run(String command, String options) {
        IJ.getErrorMessage(); // forgets an earlier one
        Options.given.set(options);
        try {
            command(command).run("");
        } finally {
            Options.given.remove();
        }
        String problem = IJ.getErrorMessage();
        return problem == null ? "" : problem;
    }

    private static PlugIn command(String name) {
        switch (name) {
            case "Veriscope Restore": return new Restore();
            case "Veriscope Project": return new Project();
            case "Veriscope Train": return new Train();
            case "Veriscope Model Information": return new Information();
            case "Veriscope Settings": return new Settings();
            default: throw new IllegalArgumentException("There is no command " + name + ".");
        }
    }
}
