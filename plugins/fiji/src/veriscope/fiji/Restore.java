package veriscope.fiji;

import ij.plugin.PlugIn;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;

/** Plugins > Veriscope > Veriscope Restore: the current image, or a file, by a trained model. */
public final class Restore implements PlugIn {
    private static final String TITLE = "Veriscope Restore";
    @Override
    public void run(String argument) {
        new Options(TITLE)
            .folder("Model", "folder or name")
            .file("Input", "empty: the current image")
            .folder("Output", "empty: only shown")
            .text("Memory", "such as 4GB; empty: automatic")
            .text("Tile", "such as 256 or 32,256,256; empty: automatic")
            .text("Interval", "such as 90 %; empty: none")
            .tick("Scale", "expected error").tick("Disagreement", "of networks").tick("Trust_mask")
            .tick("Height", "of a surface").tick("Planes", "one by one").tick("Overwrite").ask(options -> {
                options.needed("Model", "the folder that training wrote, or give the name of one that comes with veriscope");
                List<String> words = new ArrayList<>(Arrays.asList("restore"));
                words.addAll(options.words("Model", "Memory", "Tile", "Scale", "Disagreement", "Trust_mask", "Height", "Planes"));
                String interval = options.get("Interval");
                if (!interval.isEmpty()) words.addAll(Arrays.asList("--interval", part(interval)));
                Images.make(options, TITLE, "Restoring", words, "-restored");
            });
    }

    /** Percent as a part of 1; what is no number is for veriscope to refuse. */
    private static String part(String percent) {
        try {
            double value = Double.parseDouble(percent.replace("%", "").trim());
            return String.valueOf(value > 1 ? value / 100 : value);
        } catch (NumberFormatException none) {
            return percent;
        }
    }
}
