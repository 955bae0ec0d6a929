package veriscope.fiji;

import ij.IJ;
import ij.Prefs;
import ij.plugin.PlugIn;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;

/** Plugins > Veriscope > Veriscope Train: a model from two folders of images of the same fields. */
public final class Train implements PlugIn {
    private static final String TITLE = "Veriscope Train";

    @Override
    public void run(String argument) {
        new Options(TITLE)
            .folder("Low", "low-light images")
            .folder("High", "same fields and names, good quality")
            .folder("New_model", "a new folder")
            .text("Minutes", "in all; empty: 20")
            .text("Members", "networks; empty: 5")
            .text("Axes", "such as ZYX; empty: as the files say")
            .tick("Continue_training").tick("Overwrite_model").ask(options -> {
                String model = options.needed("New_model", "the folder to write the model to");
                List<String> words = new ArrayList<>(Arrays.asList("train",
                    options.needed("Low", "the folder of low-light images"),
                    options.needed("High", "the folder of images in good quality"), "--out", model));
                words.addAll(options.words("Minutes", "Members", "Axes"));
                if (options.ticked("Continue_training")) words.add("--resume");
                if (options.ticked("Overwrite_model")) words.add("--overwrite");
                Run run = Run.of("Training", words);
                Prefs.set("veriscope.model", model); // for the next restoration
                IJ.log(run.facts + "\nRestore images with it: Plugins > Veriscope > Veriscope Restore");
            });
    }
}
