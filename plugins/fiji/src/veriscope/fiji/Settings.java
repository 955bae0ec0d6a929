package veriscope.fiji;

import ij.IJ;
import ij.Prefs;
import ij.plugin.PlugIn;
import java.io.File;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;

/** Plugins > Veriscope > Veriscope Settings: which veriscope does the work. */
public final class Settings implements PlugIn {
    private static final String TITLE = "Veriscope Settings";
    private static final String AUTOMATIC = "the first that is found";
    private static final String OTHER = "another, below";

    @Override
    public void run(String argument) {
        List<String> known = new ArrayList<>(Arrays.asList(AUTOMATIC));
        for (File found : Finder.all()) known.add(found.getPath());
        known.add(OTHER);
        new Options(TITLE)
            .choice("Found", "", known.toArray(new String[0]))
            .file("Program", "or the folder of its environment").ask(options -> {
                String chosen = options.get("Found");
                String program = options.get("Program");
                if (chosen.equals(OTHER) || (chosen.equals(AUTOMATIC) && !program.isEmpty())) chosen = program;
                if (chosen.equals(AUTOMATIC)) chosen = "";
                if (!chosen.isEmpty() && Finder.in(new File(chosen)) == null) {
                    throw new Run.Problem("There is no veriscope in " + chosen + ".\nChoose the program or the folder of its environment.");
                }
                Prefs.set(Finder.SETTING, chosen);
                Prefs.savePreferences();
                IJ.showStatus("Veriscope: " + Finder.command());
            });
    }
}
