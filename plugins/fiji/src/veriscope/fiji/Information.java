package veriscope.fiji;

import ij.IJ;
import ij.plugin.PlugIn;
import ij.text.TextWindow;
import java.awt.GraphicsEnvironment;
import java.util.Arrays;

/** Plugins > Veriscope > Veriscope Model Information: what a model does, and how it was trained. */
public final class Information implements PlugIn {
    private static final String TITLE = "Veriscope Model Information";

    @Override
    public void run(String argument) {
        new Options(TITLE).folder("Model", "folder or name").ask(options -> {
            String model = options.needed("Model", "the folder that training wrote, or give the name of one that comes with veriscope");
            String facts = Run.of("Reading", Arrays.asList("info", model)).facts.toString();
            if (GraphicsEnvironment.isHeadless()) IJ.log(facts);
            else new TextWindow(TITLE, facts, 640, 560);
        });
    }
}
